import sys

import remote

calculator = remote.Proxy("Calculator", int(sys.argv[1]))
print(calculator.add(5, 3))
