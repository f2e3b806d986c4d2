"""The servers that the benchmarks compare: nodes and real redis-servers, alone and as clusters."""

import contextlib
import os
import re
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))
READY_S = 30


def prepare():
    """Builds the programs as scripts/cluster does, and finds redis-server."""
    steps = ("source scripts/lib.sh; need_cargo; need_redis; "
             "cargo build --locked --release -q -p dht-node -p dht-client --bins")
    environment = os.environ | {"CARGO_TARGET_DIR": TARGET}
    subprocess.run(["bash", "-c", steps], cwd=ROOT, env=environment, check=True)


def binary(name):
    return os.path.join(TARGET, "release", name)


class Goals:
    """What is to be reached, a line for each; a script ends with what was missed."""

    def __init__(self):
        self.missed = []

    def check(self, what, value, passed):
        print(f"- {'pass' if passed else 'FAIL'}: {what}: {value}")
        if not passed:
            self.missed.append(f"{what}: {value}")

    def settle(self):
        """Ends the program with 1, naming every goal that was missed."""
        if self.missed:
            raise SystemExit("missed: " + "; ".join(self.missed))


def free_ports(count):
    """Ports of loopback on which nobody listens; held until all are found, so that they differ."""
    with contextlib.ExitStack() as held:
        found = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in found]


def wait_for(what, is_so, server=None):
    """Asks until it is so; gives up when time is up or the server has ended."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and (server is None or server.process.poll() is None):
        if is_so():
            return
        time.sleep(0.01)
    raise SystemExit(f"waited in vain for {what}")


class Server:
    """A running server on a port of loopback."""

    def __init__(self, name, argv, folder, port):
        self.name = name
        self.port = port
        self.process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        started = f"{name} to start: {' '.join(argv)}"
        wait_for(started, lambda: self.ask("PING") == "+PONG\r\n", self)

    def ask(self, command):
        """The first piece of the answer to an inline command; empty when there is none."""
        with contextlib.suppress(OSError), self.connect() as stream:
            stream.sendall(f"{command}\r\n".encode())
            return stream.recv(65536).decode()
        return ""

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


class Cluster:
    """Servers that are one keyspace; any of them tells a client about the others."""

    def __init__(self, name, servers):
        self.name = name
        self.servers = servers
        self.port = servers[0].port

    def cpu_s(self):
        """CPU seconds of all processes so far."""
        return sum(server.cpu_s() for server in self.servers)


@contextlib.contextmanager
def running():
    """Gives a function that starts a server by name, command line and port; all end with it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        def start(name, argv, port):
            server = Server(name, argv, folder, port)
            stack.callback(server.stop)
            return server
        yield start


def start_node(start, name="dht"):
    """A node without a cluster, in memory."""
    [port] = free_ports(1)
    return start(name, [binary("dht-node"), "--listen", f"127.0.0.1:{port}",
                        "--cluster-listen", "127.0.0.1:0"], port)


def start_durable_node(start, data_dir, name="dht"):
    """A cluster of one, whose data is in this folder."""
    [port] = free_ports(1)
    server = start(name, [binary("dht-node"), "--listen", f"127.0.0.1:{port}",
                          "--cluster-listen", "127.0.0.1:0", "--data-dir", data_dir], port)
    wait_for(f"{name} to serve", lambda: "cluster_state:ok" in server.ask("CLUSTER INFO"))
    return server


def start_nodes(start, count, name="dht", data_dirs=None):
    """A cluster of nodes, in memory or with its data in these folders; each key is on as many of
    them as replicate by default."""
    ports = free_ports(2 * count)
    pairs = list(zip(ports[::2], ports[1::2]))
    join = ",".join(f"127.0.0.1:{port}" for port, _ in pairs)
    servers = [start(name, [binary("dht-node"), "--listen", f"127.0.0.1:{port}",
                            "--cluster-listen", f"127.0.0.1:{other}", "--join", join,
                            *(["--data-dir", data_dirs[index]] if data_dirs else [])], port)
               for index, (port, other) in enumerate(pairs)]
    for server in servers:
        wait_for(f"{name} to form", lambda: "cluster_state:ok" in server.ask("CLUSTER INFO"))
    return Cluster(name, servers)


REDIS = os.path.join(TARGET, "tools", "redis", "redis-server")


def start_redis(start):
    """A redis-server that does not write to disk."""
    [port] = free_ports(1)
    return start("redis", [REDIS, "--port", str(port), "--save", "", "--appendonly", "no"], port)


def start_durable_redis(start, fsync, folder, name):
    """A redis-server that keeps a log of writes, flushed `always` or `everysec`."""
    os.mkdir(folder)
    [port] = free_ports(1)
    return start(name, [REDIS, "--port", str(port), "--save", "", "--dir", folder,
                        "--appendonly", "yes", "--appendfsync", fsync], port)


def start_redis_cluster(start, leaders, name="redis"):
    """A Redis Cluster of so many leaders with a replica each, none of which writes to disk."""
    ports = free_ports(4 * leaders)
    servers = [start(name, [REDIS, "--port", str(port), "--save", "", "--appendonly", "no",
                            "--cluster-enabled", "yes", "--cluster-port", str(bus),
                            "--cluster-config-file", f"nodes-{port}.conf",
                            "--repl-diskless-sync-delay", "0"], port)
               for port, bus in zip(ports[::2], ports[1::2])]
    addresses = [f"127.0.0.1:{server.port}" for server in servers]
    subprocess.run(["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1",
                    "--cluster-yes"], check=True, stdout=subprocess.DEVNULL)

    def is_whole(server):
        replication = server.ask("INFO replication")
        linked = "master_link_status:up" in replication or "connected_slaves:1" in replication
        return linked and "cluster_state:ok" in server.ask("CLUSTER INFO")
    for server in servers:
        wait_for(f"{name} to form", lambda: is_whole(server))
    return Cluster(name, servers)


@contextlib.contextmanager
def both():
    """A node and Redis, neither of them writing to disk."""
    with running() as start:
        yield [start_node(start), start_redis(start)]
