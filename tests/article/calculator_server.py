import sys  # Departure: for the port.

import frames  # Departure: frames through a node are the transport.


class Calculator:
    def add(self, a, b):
        return a + b


server = frames.Server(int(sys.argv[1]))  # Departure: the node's port, not one of its own.
server.register("Calculator", Calculator())
print("Ready.")
server.serve_forever()
