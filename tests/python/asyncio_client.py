"""redis-py's asyncio clients on a cluster: arguments are the nodes' client ports, in order, then
the redirecting ports. Prints one line when everything was right."""

import asyncio
import sys

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

ports = list(map(int, sys.argv[1:]))
plain, redirecting = ports[:len(ports) // 2], ports[len(ports) // 2:]


async def count(client, key, times):
    """Increments that are under way at once give every number once."""
    found = await asyncio.gather(*(client.hincrby(key, "n", 1) for _ in range(times)))
    assert sorted(found) == list(range(1, times + 1)), found


async def alone(port, protocol):
    async with Redis(host="127.0.0.1", port=port, protocol=protocol) as client:
        key = f"user:{port}:{protocol}"
        assert await client.hset(key, mapping={"name": "Alice", "age": "25"}) == 2
        assert await client.hgetall(key) == {b"name": b"Alice", b"age": b"25"}
        await count(client, key, 100)
        async with client.pipeline(transaction=True) as pipe:
            assert await pipe.hget(key, "n").hdel(key, "n", "age").execute() == [b"100", 2]
        async with client.pubsub() as channel:
            await channel.subscribe(key)
            assert (await channel.get_message(timeout=20))["type"] == "subscribe"
            while await client.publish(key, "hello") == 0:
                pass
            heard = await channel.get_message(ignore_subscribe_messages=True, timeout=20)
            assert heard["data"] == b"hello", heard
        assert [name async for name in client.scan_iter(match=f"{key}*")] == [key.encode()]


async def together(port):
    async with RedisCluster(host="127.0.0.1", port=port) as cluster:
        assert sorted(node.port for node in cluster.get_nodes()) == sorted(redirecting)
        users = [f"cluster:{n}" for n in range(200)]
        await asyncio.gather(*(cluster.hset(user, "name", user) for user in users))
        names = await asyncio.gather(*(cluster.hget(user, "name") for user in users))
        assert names == [user.encode() for user in users]
        await count(cluster, "cluster:count", 100)


async def main():
    await asyncio.gather(*(alone(port, protocol) for port in plain for protocol in (2, 3)))
    await together(plain[-1])
    print("right")


asyncio.run(main())
