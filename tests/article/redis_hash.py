import sys

import redis

# Departure: the port is the node's, not 6379.
r = redis.Redis(host="localhost", port=int(sys.argv[1]))
r.hmset("user:1", {"name": "Alice", "age": "25"})
print(r.hgetall("user:1"))
