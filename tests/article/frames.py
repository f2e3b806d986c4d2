"""The transport of the article's remote call: frames to a node, as docs/services.md says."""

import socket

import msgpack


class Node:
    def __init__(self, port):
        self.socket = socket.create_connection(("localhost", port))
        self.socket.sendall(b"\xd7dht\r\n\x01c")
        self.frames = self.socket.makefile("rb")

    def send(self, *message):
        body = msgpack.packb(message)
        self.socket.sendall(len(body).to_bytes(4, "big") + body)

    def receive(self):
        """The next message; nothing once the node is gone."""
        length = self.frames.read(4)
        return msgpack.unpackb(self.frames.read(int.from_bytes(length, "big"))) if length else None

    def call(self, command, words):
        """Asks for a command before there can be any other message."""
        self.send(0, 1, command, words)
        _, _, error, result = self.receive()
        if error is not None:
            raise RuntimeError(error)
        return result


class Server(Node):
    """Answers calls of the public methods of what is registered."""

    def __init__(self, port):
        super().__init__(port)
        self.objects = {}

    def register(self, name, what):
        self.call("SERVICE REGISTER", [name])
        self.objects[name.encode()] = what

    def serve_forever(self):
        while message := self.receive():
            _, number, _, [_, name, method, *packed] = message
            try:
                method = method.decode()
                if method.startswith("_"):
                    raise AttributeError(method)
                result = getattr(self.objects[name], method)(*msgpack.unpackb(*packed))
                self.send(1, number, None, msgpack.packb(result))
            except Exception as error:
                self.send(1, number, f"{type(error).__name__}: {error}", None)


class Proxy:
    """A service under its name, with its methods."""

    def __init__(self, name, port):
        self.name, self.node = name, Node(port)

    def __getattr__(self, method):
        return lambda *arguments: msgpack.unpackb(
            self.node.call("SERVICE CALL", [self.name, method, msgpack.packb(arguments)]))
