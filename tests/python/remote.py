"""Services over native frames, as docs/services.md describes them: standard library and msgpack."""

import socket
import struct

import msgpack


class Connection:
    def __init__(self, port, host="localhost"):
        self.file = socket.create_connection((host, port)).makefile("rwb")
        self.file.write(b"\xd7dht\r\n\x01c")

    def send(self, *message):
        body = msgpack.packb(message)
        self.file.write(struct.pack(">I", len(body)) + body)
        self.file.flush()

    def receive(self):
        (length,) = struct.unpack(">I", self.file.read(4))
        return msgpack.unpackb(self.file.read(length), strict_map_key=False)

    def call(self, method, *params):
        self.send(0, 1, method, params)
        _, _, error, result = self.receive()
        if error is not None:
            raise RuntimeError(error)
        return result


class Proxy:
    """What is offered under a name: its methods are those of the service."""

    def __init__(self, name, port):
        self._name, self._connection = name, Connection(port)

    def __getattr__(self, method):
        def call(*args):
            words = (self._name, method, msgpack.packb(args))
            return msgpack.unpackb(self._connection.call("SERVICE CALL", *words))

        return call


def serve(name, service, port):
    """Offers the public methods of an object under a name, until the node ends."""
    connection = Connection(port)
    connection.call("SERVICE REGISTER", name)
    print("Ready.", flush=True)
    while True:
        _, number, _, (_, _, method, args) = connection.receive()
        try:
            if method.startswith(b"_"):
                raise AttributeError("it is not public")
            result = getattr(service, method.decode())(*msgpack.unpackb(args))
            connection.send(1, number, None, msgpack.packb(result))
        except Exception as error:
            connection.send(1, number, f"{type(error).__name__}: {error}", None)
