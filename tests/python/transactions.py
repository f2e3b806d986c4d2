"""redis-py's transactions on a cluster: arguments are the client ports of all nodes. Prints one
line when everything was right."""

import sys

import redis

nodes = [redis.Redis(host="127.0.0.1", port=int(port), protocol=protocol)
         for port, protocol in zip(sys.argv[1:], (2, 3, 2))]

# Of every slot that these keys have, through every node.
for i, node in enumerate(nodes):
    for j in range(10):
        tag = f"{{{i}:{j}}}"
        with node.pipeline() as pipe:
            pipe.set(f"{tag}n", 1).incr(f"{tag}n", 5).hset(f"{tag}h", mapping={"f": "v"})
            pipe.hgetall(f"{tag}h").get(f"{tag}none").ping()
            assert pipe.execute() == [True, 6, 1, {b"f": b"v"}, None, True]

# An error of one command stops no other.
with nodes[0].pipeline() as pipe:
    pipe.set("{e}s", "text").incr("{e}s").set("{e}other", 1)
    done, error, other = pipe.execute(raise_on_error=False)
    assert done is True and other is True and isinstance(error, redis.ResponseError), error

# Keys of two slots: both are named, with their slots and what to do.
with nodes[1].pipeline() as pipe:
    try:
        pipe.set("a", 1).set("b", 2).execute()
        raise AssertionError("two slots in one transaction")
    except redis.ResponseError as error:
        for word in ("a' is in slot 15495", "b' in slot 3300", "{tag}"):
            assert word in str(error), error
assert nodes[1].exists("a") == 0

# A watched key that another node has changed.
for i, node in enumerate(nodes):
    key = f"watched:{i}"
    with node.pipeline() as pipe:
        pipe.watch(key)
        value = int(pipe.get(key) or 0)
        nodes[i - 1].set(key, 7)
        pipe.multi()
        pipe.set(key, value + 1)
        try:
            pipe.execute()
            raise AssertionError("a watched key had changed")
        except redis.WatchError:
            assert node.get(key) == b"7"
    with node.pipeline() as pipe:
        pipe.watch(key)
        value = int(pipe.get(key))
        pipe.multi()
        pipe.set(key, value + 1)
        assert pipe.execute() == [True]
    with node.pipeline() as pipe:
        pipe.watch(key)
        pipe.unwatch()
        nodes[i - 1].set(key, 9)
        pipe.multi()
        assert pipe.get(key).execute() == [b"9"]



def add(pipe):
    value = int(pipe.get("sum") or 0)
    pipe.multi()
    pipe.set("sum", value + 1)


# The helper that tries again until nobody was faster.
for node in nodes:
    node.transaction(add, "sum")
assert nodes[0].get("sum") == b"3"
print("right")
