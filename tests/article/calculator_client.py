import sys  # Departure: for the port.

import frames  # Departure: frames through a node are the transport.

calculator = frames.Proxy("Calculator", int(sys.argv[1]))  # Departure: any node, not the server.
print(calculator.add(5, 3))
