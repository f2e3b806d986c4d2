"""redis-py's cluster client while nodes go and come back: arguments are a file and the redirecting
ports of all nodes. Writes and reads what it has written until the file is gone; prints the number
of writes when there was no error."""

import os
import sys
import threading
import time

from redis.cluster import ClusterNode, RedisCluster

until, ports = sys.argv[1], sys.argv[2:]
cluster = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", int(port)) for port in ports])
counts, failures = [], []


def work(number):
    count = 0
    try:
        while os.path.exists(until):
            key = f"client:{number}:{count % 100}"
            assert cluster.set(key, count)
            assert cluster.get(key) == b"%d" % count, key
            assert cluster.hset(f"hash:{key}", "count", count) in (0, 1)
            assert cluster.hgetall(f"hash:{key}") == {b"count": b"%d" % count}, key
            count += 1
            time.sleep(0.005)
        counts.append(count)
    except Exception as failure:
        failures.append(f"{failure!r}: {failure}")


threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
print(sum(counts))
