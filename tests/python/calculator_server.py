import sys

import remote


class Calculator:
    def add(self, a, b):
        return a + b


remote.serve("Calculator", Calculator(), int(sys.argv[1]))
