"""The two servers that the benchmarks compare: a standalone node, and a real redis-server."""

import contextlib
import os
import re
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
READY_S = 10


def prepare():
    """Builds the node and finds redis-server, as scripts/lib.sh does."""
    steps = "source scripts/lib.sh; need_cargo; need_redis; cargo build --release -q -p dht-node"
    subprocess.run(["bash", "-c", steps], cwd=ROOT, check=True)


class Server:
    """A running server on a free port of loopback."""

    def __init__(self, name, argv, folder):
        self.name = name
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        argv = [word.format(port=self.port) for word in argv]
        self.process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self._await_ready()

    def _await_ready(self):
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), self.connect() as stream:
                stream.sendall(b"PING\r\n")
                if stream.recv(64) == b"+PONG\r\n":
                    return
            time.sleep(0.01)
        raise SystemExit(f"{self.name} did not start: {' '.join(self.process.args)}")

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def cpu_s(self):
        """CPU seconds of the process so far, user's and system's."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024

    def stop(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def both():
    """The node and Redis, neither of them writing to disk."""
    node = os.path.join(TARGET, "release", "dht-node")
    redis = os.path.join(TARGET, "tools", "redis", "redis-server")
    argvs = {
        "dht": [node, "--listen", "127.0.0.1:{port}", "--cluster-listen", "127.0.0.1:0"],
        "redis": [redis, "--port", "{port}", "--save", "", "--appendonly", "no"],
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        servers = []
        for name, argv in argvs.items():
            servers.append(Server(name, argv, folder))
            stack.callback(servers[-1].stop)
        yield servers
