"""redis-py's cluster client on a cluster: arguments are a node's client port, then the redirecting
ports of all nodes. Prints one line when everything was right."""

import sys

from redis import WatchError
from redis.cluster import RedisCluster

first, redirecting = int(sys.argv[1]), sorted(map(int, sys.argv[2:]))
cluster = RedisCluster(host="127.0.0.1", port=first)

# The map names the redirecting ports, and every node has a part of it.
assert sorted(node.port for node in cluster.get_nodes()) == redirecting, cluster.get_nodes()
assert len(cluster.get_primaries()) == len(redirecting)

users = {f"user:{i}": {b"name": b"Alice", b"age": b"%d" % i} for i in range(300)}
for key, fields in users.items():
    assert cluster.hset(key, mapping=fields) == 2
for key, fields in users.items():
    assert cluster.hgetall(key) == fields, key
owners = {cluster.get_node_from_key(key).port for key in users}
assert sorted(owners) == redirecting, owners

pipeline = cluster.pipeline()
for key in users:
    pipeline.hincrby(key, "age", 1)
assert pipeline.execute() == list(range(1, 301))

# Transactions, which this package sends to the node that leads the slot.
with cluster.pipeline(transaction=True) as pipe:
    pipe.set("{t}n", 1).incr("{t}n").hset("{t}h", mapping={"x": 1})
    set_, *rest = pipe.execute()
    assert set_ and rest == [2, 1], (set_, rest)
with cluster.pipeline(transaction=True) as pipe:
    pipe.watch("{t}n")
    assert pipe.get("{t}n") == b"2"
    cluster.set("{t}n", 9)
    pipe.multi()
    pipe.set("{t}n", 10)
    try:
        pipe.execute()
        raise AssertionError("a watched key had changed")
    except WatchError:
        assert cluster.get("{t}n") == b"9"


def add(pipe):
    value = int(pipe.get("{t}n"))
    pipe.multi()
    pipe.set("{t}n", value + 1)


cluster.transaction(add, "{t}n")
assert cluster.get("{t}n") == b"10"
assert cluster.delete("{t}n", "{t}h") == 2

assert cluster.mset_nonatomic({f"plain:{i}": i for i in range(100)})
assert cluster.mget_nonatomic([f"plain:{i}" for i in range(100)]) == [b"%d" % i for i in range(100)]
assert sorted(cluster.scan_iter(match="user:*", count=100)) == sorted(map(str.encode, users))
# Asked for by name, since this version of the package sends it to one node by itself.
assert cluster.dbsize(target_nodes=RedisCluster.PRIMARIES) == 400
assert cluster.flushall() and cluster.dbsize(target_nodes=RedisCluster.PRIMARIES) == 0
print("right")
