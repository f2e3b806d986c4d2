import sys
import threading

import redis


def worker(num):
    # Departure: the worker does real commands, on every node in turn, and counts wrong answers.
    nodes = [redis.Redis(host="localhost", port=int(port)) for port in sys.argv[1:]]
    key, wrong = f"worker:{num}", 0
    for step in range(1, ROUNDS + 1):
        node = nodes[step % len(nodes)]
        name = f"{num}-{step}".encode()
        wrong += node.hset(key, mapping={"name": name}) != (1 if step == 1 else 0)
        wrong += node.hincrby(key, "steps", 1) != step
        wrong += node.hgetall(key) != {b"name": name, b"steps": b"%d" % step}
        wrong += node.incr("together") < step
    print(f"Worker {num}: {wrong} wrong\n", end="")


# Departure: many threads instead of five.
THREADS, ROUNDS = 32, 50
threads = []
for i in range(THREADS):
    t = threading.Thread(target=worker, args=(i,))
    threads.append(t)
    t.start()

# Departure: the threads are waited for, and what they counted together is printed.
for t in threads:
    t.join()
print("Together:", int(redis.Redis(host="localhost", port=int(sys.argv[1])).get("together")))
