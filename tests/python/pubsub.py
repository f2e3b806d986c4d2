"""redis-py's subscriptions on a cluster: arguments are the client ports of all nodes, and a
redirecting port. Prints one line when everything was right."""

import sys

import redis

WAIT = 10

ports = [int(port) for port in sys.argv[1:]]
clients, redirecting = ports[:-1], ports[-1]
nodes = [redis.Redis(host="127.0.0.1", port=port, protocol=protocol, decode_responses=True)
         for port in clients for protocol in (2, 3)]


def message(subscription):
    return subscription.get_message(timeout=WAIT)


subscriptions = []
for node in nodes:
    subscription = node.pubsub()
    subscription.subscribe("news", "sport")
    subscription.psubscribe("n*")
    for kind, name, count in (("subscribe", "news", 1), ("subscribe", "sport", 2),
                              ("psubscribe", "n*", 3)):
        expect = {"type": kind, "pattern": None, "channel": name, "data": count}
        assert message(subscription) == expect
    subscriptions.append(subscription)

for i, node in enumerate(nodes):
    # Two connections of this node, on the channel and on the pattern.
    assert node.publish("news", f"{i}") == 4
    for subscription in subscriptions:
        expect = {"type": "message", "pattern": None, "channel": "news", "data": f"{i}"}
        assert message(subscription) == expect
        expect = {"type": "pmessage", "pattern": "n*", "channel": "news", "data": f"{i}"}
        assert message(subscription) == expect
    assert node.pubsub_numsub("news", "none") == [("news", 2), ("none", 0)]
    assert node.pubsub_numpat() == 1
    assert sorted(node.pubsub_channels()) == ["news", "sport"]

for subscription in subscriptions:
    # In RESP3 the answer is no message, and redis-py takes it for one.
    if subscription.connection.protocol == 2:
        subscription.ping("there")
        pong = message(subscription)
        assert (pong["type"], pong["data"]) == ("pong", "there"), pong
    subscription.punsubscribe()
    subscription.unsubscribe("news")
    assert message(subscription)["data"] == 2
    assert message(subscription)["data"] == 1

nodes[0].publish("news", "unheard")
nodes[0].publish("sport", "heard")
for subscription in subscriptions:
    assert message(subscription)["data"] == "heard"
    subscription.close()

# A cluster-aware client goes to the leader of the channel's slot.
cluster = redis.RedisCluster(host="127.0.0.1", port=redirecting, decode_responses=True)
sharded = cluster.pubsub()
names = [f"channel:{i}" for i in range(20)]
for name in names:
    sharded.ssubscribe(name)
    got = sharded.get_sharded_message(timeout=WAIT, target_node=cluster.get_node_from_key(name))
    assert got["type"] == "ssubscribe", got
for i, name in enumerate(names):
    # From anywhere: through a plain client, and through one that knows where to go.
    speaker = nodes[i % len(nodes)] if i % 2 else cluster
    speaker.execute_command("SPUBLISH", name, "hi")
    got = sharded.get_sharded_message(timeout=WAIT, target_node=cluster.get_node_from_key(name))
    assert (got["type"], got["channel"], got["data"]) == ("smessage", name, "hi"), got

print("right")
