"""Whether the benchmarks notice that a goal is missed, and name it: with made-up measurements."""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import io
import os
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "bench")
sys.path.insert(0, FOLDER)
sys.dont_write_bytecode = True
servers = importlib.import_module("servers")


def load(name):
    """A benchmark as a module; it measures only when it is run."""
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(FOLDER, name))
    spec = importlib.util.spec_from_loader(name, loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def missed(judge):
    """What a benchmark says is missed as it ends with 1; nothing when it ends with 0."""
    goals = servers.Goals()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        judge(goals)
    try:
        goals.settle()
    except SystemExit as ended:
        # Python prints a text to standard error and ends with 1.
        assert isinstance(ended.code, str) and "FAIL" in printed.getvalue(), ended.code
        return ended.code
    assert "FAIL" not in printed.getvalue() and "pass" in printed.getvalue()
    return ""


def redis():
    bench = load("redis")
    for depth, most in bench.CPU_RATIO.items():
        def cells(ratio, depth=depth):
            every = [(name, c, d) for name in ("dht", "redis") for c in bench.COMMANDS
                     for d in bench.REQUESTS]
            found = {cell: (1000.0, 10.0 if cell[0] == "redis" else 5.0) for cell in every}
            found["dht", "HGET", depth] = 1000.0, 10 * ratio
            return found
        assert missed(lambda goals: bench.check(cells(most), goals)) == ""
        said = missed(lambda goals: bench.check(cells(most + 0.02), goals))
        assert said == (f"missed: HGET, depth {depth}: at most {most} of Redis's CPU: "
                        f"{most + 0.02:.2f}"), said
    rounds = {("dht", "GET", 1): [(1.0, 9.0), (3.0, 8.0), (2.0, 1.0)]}
    assert bench.medians(rounds) == {("dht", "GET", 1): (2.0, 8.0)}


def memory():
    bench = load("memory")
    assert missed(lambda goals: bench.table({"dht": 80.0, "redis": 100.0}, goals)) == ""
    said = missed(lambda goals: bench.table({"dht": 81.0, "redis": 100.0}, goals))
    assert said == "missed: memory: at most 0.8 of Redis's: 0.81", said


def cluster():
    bench = load("cluster")

    def row(rate, cpu_us):
        return bench.Measured(rate=rate, cpu_us=cpu_us, generator_us=1.0, p50_ms=1.0, p99_ms=1.0)

    assert missed(lambda goals: bench.write_goals(goals, row(80_000.0, 8.0))) == ""
    said = missed(lambda goals: bench.write_goals(goals, row(79_000.0, 8.5)))
    assert "80,000 a second: 79,000; " in said and said.endswith("on all nodes: 8.50"), said

    def reads(ratio):
        found = {("three", d): row(1.0, 10 * ratio) for d in bench.DEPTHS}
        found.update({("one", d): row(1.0, 10.0) for d in bench.DEPTHS})
        return lambda goals: bench.read_goals(goals, "leaders", "three", "one", found)

    assert missed(reads(1.1)) == ""
    assert missed(reads(1.2)).count("times the CPU of a node alone: 1.20") == 2


def durable():
    bench = load("durable")

    class Named:
        def __init__(self, name):
            self.name = name

    systems = [(Named(name), []) for name in ("three", "one", "always", "every")]

    def judged(three, cpu_us, one):
        rates = {"three": three, "one": one, "always": 100.0, "every": 100.0}
        found = {(name, d): bench.Measured(rate, cpu_us, 1.0, 1.0)
                 for name, rate in rates.items() for d in bench.DEPTHS}
        return missed(lambda goals: bench.show(systems, found, goals))

    assert judged(60_000.0, 10.0, 60.0) == ""
    said = judged(59_000.0, 11.0, 50.0)
    assert said.count("; ") == 2 and "cluster of one" in said, said


def tail():
    bench = load("tail")

    def judged(saving, copying):
        waits = {"one, at rest": 1.0, "one, saving": saving, "Redis, BGSAVE": 9.0,
                 "three, at rest": 2.0, "three, copying": copying}
        found = {name: bench.Measured(0.1, wait, 50.0) for name, wait in waits.items()}
        return missed(lambda goals: bench.show(found, goals))

    assert judged(2.0, 4.0) == ""
    said = judged(2.1, 4.2)
    assert said.count("; ") == 1 and "copying" in said, said


redis()
memory()
cluster()
durable()
tail()
print("right")
