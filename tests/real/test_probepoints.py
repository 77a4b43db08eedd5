"""Where Go functions may be probed, against what objdump makes of the same code."""

from __future__ import annotations

import re
import subprocess

import pytest
from gotriage.goruntime import probepoints, runtime
from gotriage.goruntime.client import Reader

from tests.lab.toolchain import NEWEST, QUICK, VERSIONS, build

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

ALL = [pytest.param(version, marks=() if version in QUICK else pytest.mark.slow) for version in VERSIONS]
SOME = 256 * 1024
"""Bytes of code that are compared in each build."""
SERVE = "net/http.serverHandler.ServeHTTP"


def disassembled(binary, start, end):
    """The instructions of a range: address to text."""
    line = ["objdump", "-d", "--no-show-raw-insn", f"--start-address={start}", f"--stop-address={end}", binary]
    out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    found = re.finditer(r"^ *([0-9a-f]+):\t(\S+)", out, re.MULTILINE)
    return {int(match[1], 16): match[2] for match in found}


@pytest.mark.parametrize("version", ALL)
def test_starts_and_ends_are_instructions_of_this_build(service, version):
    running = service("web", go=version)
    with runtime.attach(running.pid) as attached:
        functions = attached.image.functions
        table = functions.tables[0]
        first = functions.by_name(SERVE)
        numbers = [n for n in range(first, table.count) if table.end(n) <= table.entry(first) + SOME]
        code = disassembled(build("web", version), table.entry(first), table.end(numbers[-1]))
        names = [table.name(table.record(n).name) for n in numbers]
        found = [p for at in range(0, len(names), 200) for p in attached.probepoints(names[at : at + 200]).points]
        ends = 0
        for number, point in zip(numbers, found, strict=True):
            entry, end = table.entry(number), table.end(number)
            if not entry <= point.start.address < end:
                continue  # two functions of the same name
            assert point.start.address in code
            assert point.start.stepped or code[point.start.address] == "push"
            returns = {at for at, word in code.items() if entry <= at < end and word.startswith("ret")}
            ours = {place.address for place in point.ends}
            assert ours == returns or not ours, point.name
            ends += len(ours)
        assert ends > 500


WAYS = {
    "stripped": ("web", False, ("-ldflags=-s -w",)),
    "pie, stripped": ("web", False, ("-buildmode=pie", "-ldflags=-s -w")),
    "cgo, pie, stripped": ("web", True, ("-buildmode=pie", "-ldflags=-s -w -linkmode=external")),
    "race": ("web", True, ("-race",)),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_link(service, way):
    name, cgo, flags = WAYS[way]
    running = service(name, go=NEWEST, cgo=cgo, flags=flags)
    with Reader(running.pid) as reader:
        missing = "net/http.(*nothing).Such"
        found = reader.call("probepoints", 30, names=[SERVE, missing, "net/http.bodyAllowedForStatus"])
    serve, none, inlined = found.points
    assert found.region == ""
    assert serve.start is not None
    assert serve.ends
    binary = build(name, cgo=cgo, flags=flags).read_bytes()
    assert binary[serve.start.offset] == serve.start.code == 0x55
    assert {binary[place.offset] for place in serve.ends} == {0xC3}
    assert (none.start, none.refused) == (None, "not linked")
    assert inlined.refused == "inlined"


def test_a_breakpoint_of_somebody_else_is_seen(service, monkeypatch):
    running = service("web")
    with runtime.attach(running.pid) as attached:
        read = attached.memory.read
        monkeypatch.setattr(attached.memory, "read", lambda at, size: b"\xcc" if size == 1 else read(at, size))
        (point,) = attached.probepoints([SERVE]).points
    assert point.start is None
    assert "breakpoint" in point.refused


def test_a_damaged_table_of_depths_gives_no_place():
    assert list(probepoints.runs(b"\x80" * 64, 100, 1)) == []
    assert list(probepoints.runs(b"\x02\x05\xff", 100, 1)) == [(0, 0)]
    assert list(probepoints.runs(b"\x02\x05\x10\x01\x0f\x01\x00", 100, 1)) == [(0, 0), (5, 8), (6, 0)]
