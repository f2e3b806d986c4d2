import sys  # Departure: for the port.

import redis

r = redis.Redis(host="localhost", port=int(sys.argv[1]))  # Departure: the node's port, not 6379.
r.hmset("user:1", {"name": "Alice", "age": "25"})
print(r.hgetall("user:1"))
