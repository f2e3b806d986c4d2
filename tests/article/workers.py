"""What the threads of threads.py do, on the nodes at the ports of the command line in turn."""

import sys

import redis

THREADS, ROUNDS = 32, 50


def node(port):
    return redis.Redis(host="localhost", port=int(port))


def work(num):
    """Does real commands, and gives how many of the answers were wrong."""
    nodes = [node(port) for port in sys.argv[1:]]
    key, wrong = f"worker:{num}", 0
    for step in range(1, ROUNDS + 1):
        at = nodes[step % len(nodes)]
        name = f"{num}-{step}".encode()
        wrong += at.hset(key, mapping={"name": name}) != (1 if step == 1 else 0)
        wrong += at.hincrby(key, "steps", 1) != step
        wrong += at.hgetall(key) != {b"name": name, b"steps": b"%d" % step}
        wrong += at.incr("together") < step
    return wrong


def together(threads):
    """Waits for the threads, and gives what they have counted together."""
    for thread in threads:
        thread.join()
    return int(node(sys.argv[1]).get("together"))
