"""Calls the service Calculator through the node at a port, in frames as docs/services.md says."""

import socket
import sys

import msgpack


class Service:
    def __init__(self, name, port):
        self.name, self.node = name, socket.create_connection(("localhost", port))
        self.node.sendall(b"\xd7dht\r\n\x01c")
        self.frames = self.node.makefile("rb")

    def __getattr__(self, method):
        def call(*arguments):
            words = [self.name, method, msgpack.packb(arguments)]
            body = msgpack.packb([0, 1, "SERVICE CALL", words])
            self.node.sendall(len(body).to_bytes(4, "big") + body)
            length = int.from_bytes(self.frames.read(4), "big")
            _, _, error, result = msgpack.unpackb(self.frames.read(length))
            if error is not None:
                raise RuntimeError(error)
            return msgpack.unpackb(result)

        return call


print(Service("Calculator", int(sys.argv[1])).add(5, 3))
