"""Offers the service Calculator through the node at a port, in frames as docs/services.md says."""

import socket
import sys

import msgpack

METHODS = {b"add": lambda a, b: a + b}


def send(*message):
    body = msgpack.packb(message)
    node.sendall(len(body).to_bytes(4, "big") + body)


node = socket.create_connection(("localhost", int(sys.argv[1])))
node.sendall(b"\xd7dht\r\n\x01c")
send(0, 1, "SERVICE REGISTER", ["Calculator"])
frames = node.makefile("rb")
while length := frames.read(4):
    match msgpack.unpackb(frames.read(int.from_bytes(length, "big"))):
        case [1, _, error, answer]:
            print("Not registered:" if error else "Ready:", error or answer, flush=True)
        case [0, number, _, [_, _, method, *packed]]:
            try:
                result = METHODS[method](*msgpack.unpackb(*packed))
                send(1, number, None, msgpack.packb(result))
            except Exception as error:
                send(1, number, f"{type(error).__name__}: {error}", None)
