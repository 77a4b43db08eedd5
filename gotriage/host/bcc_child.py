"""The process that BCC lives in: compiles one program, attaches its tracepoints, answers what it has counted."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import suppress
from typing import Any, Final

import msgspec

from gotriage.host import child, ownmounts
from gotriage.host.bcc import Answer, Load, Taken
from gotriage.host.optional import load_bcc

PREFIXES: Final = (b"tracepoint__", b"raw_tracepoint__")
FORBIDDEN: Final = {
    36: "bpf_probe_write_user",
    58: "bpf_override_return",
    109: "bpf_send_signal",
    117: "bpf_send_signal_thread",
}
"""Helpers that change another process (enum bpf_func_id of include/uapi/linux/bpf.h)."""
CALL: Final = 0x85
PAGES: Final = 64
"""Of the ring of each CPU."""
MOST_EVENTS, MOST_ROWS, MOST_TABLES = 5000, 4096, 32
LONGEST: Final = 512
SOURCE: Final = "/virtual/main.c:"
"""What BCC calls the program; lines about other files are not passed on: they may hold what is in them."""
VERIFIER: Final = re.compile(r"^(invalid |R\d+ |unreachable |back-edge|math between|the stack)")
MOST_WORDS: Final = 3
ARRAY, PERF, HASH, PER_CPU_HASH, PER_CPU_ARRAY, LRU, RING = 2, 4, 1, 5, 6, 9, 27
HISTOGRAM: Final = 64
"""Slots of a BPF_HISTOGRAM of plain numbers."""


class Refused(Exception):
    """The program is not run; `kind` as in `Answer`."""

    def __init__(self, text: str, kind: str = "usage") -> None:
        super().__init__(text)
        self.kind = kind


class Program:
    """One program, compiled and attached."""

    def __init__(self, load: Load) -> None:
        bcc: Any = load_bcc()
        if bcc is None:
            raise Refused("the distribution's bcc cannot be imported", "missing")
        self._lib = lib = bcc.libbcc.lib
        lib.bpf_num_tables.restype, lib.bpf_num_tables.argtypes = ctypes.c_size_t, (ctypes.c_void_p,)
        lib.bpf_table_name.restype, lib.bpf_table_name.argtypes = ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_size_t)
        self._raw = load.raw
        self._taken = Taken()
        self._lost = 0
        flags = [f"-D{name}={number:d}" for name, number in load.numbers.items()]
        self._bpf = self._compiled(bcc.BPF, load.text, flags)
        self._tables = {}
        for number in range(min(self._lib.bpf_num_tables(self._bpf.module), MOST_TABLES)):
            name = self._lib.bpf_table_name(self._bpf.module, number)
            with suppress(Exception):  # a kind of table that BCC's Python does not know is not shown
                table = self._bpf[name]
                if table.ttype in (PERF, RING) or self._fits(name, table):
                    self._tables[name.decode()] = table
        for name, table in self._tables.items():
            self._open(name, table)

    def _fits(self, name: bytes, table: Any) -> bool:  # noqa: ANN401  # BCC has no types
        """Whether BCC has understood how large keys and values are: of an array of arrays it sees the first only, and
        what the kernel writes beyond would be anybody's."""
        sizes = (self._lib.bpf_table_key_size, self._lib.bpf_table_leaf_size)
        for function in sizes:
            function.restype, function.argtypes = ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_char_p)
        key, leaf = (function(self._bpf.module, name) for function in sizes)
        value = getattr(table, "sLeaf", table.Leaf)
        return bool(ctypes.sizeof(table.Key) == key and ctypes.sizeof(value) == leaf)

    def _compiled(self, kind: Any, text: str, flags: list[str]) -> Any:  # noqa: ANN401  # BCC has no types
        """Compile, look what it would do, then load and attach."""

        class Checked(kind):  # type: ignore[misc]  # BCC has no types
            def _trace_autoload(self) -> None:
                check(self, lib)
                super()._trace_autoload()

        lib = self._lib
        words = Words()
        try:
            return Checked(text=text.encode(), cflags=flags)
        except Refused:
            raise
        except Exception as error:
            said = words.first()
            problem = "permission" if "super-user" in str(error) else "usage"
            raise Refused(said or str(error)[:LONGEST], problem) from error
        finally:
            words.close()

    def _open(self, name: str, table: Any) -> None:  # noqa: ANN401  # BCC has no types
        if table.ttype == PERF:
            table.open_perf_buffer(
                lambda cpu, data, size: self._event(name, table, data, size),  # noqa: ARG005  # BCC's shape
                page_cnt=PAGES,
                lost_cb=self._loses,
            )
        elif table.ttype == RING:
            table.open_ring_buffer(lambda context, data, size: self._event(name, table, data, size))  # noqa: ARG005

    def _loses(self, count: int) -> None:
        self._lost += count

    def _event(self, name: str, table: Any, data: Any, size: int) -> None:  # noqa: ANN401  # BCC has no types
        if len(self._taken.events) >= MOST_EVENTS:
            self._taken.dropped += 1
        elif self._raw:
            self._taken.events.append((name, ctypes.string_at(data, size), {}))
        else:
            self._taken.events.append((name, b"", fields(table.event(data))))

    def take(self) -> Taken:
        """What there is now."""
        if self._bpf.perf_buffers:
            self._bpf.perf_buffer_poll(timeout=0)
        with suppress(Exception):  # there is no ring buffer
            self._bpf.ring_buffer_consume()
        taken, self._taken = self._taken, Taken()
        taken.lost = self._lost
        for name, table in self._tables.items():
            if table.ttype in (HASH, LRU, ARRAY, PER_CPU_HASH, PER_CPU_ARRAY):
                with suppress(Exception):  # one table that cannot be read does not hide the others
                    self._numbers(name, table, taken)
        return taken

    def _numbers(self, name: str, table: Any, taken: Taken) -> None:  # noqa: ANN401  # BCC has no types
        rows: list[tuple[Any, int | None]] = []
        for key, value in table.items():
            if len(rows) >= MOST_ROWS:
                taken.dropped += 1
                break
            rows.append((key, count_of(value)))
        if table.ttype in (ARRAY, PER_CPU_ARRAY):
            rows = [(key, count) for key, count in rows if count]
            if table.max_entries == HISTOGRAM:
                taken.histograms.append((name, [(int(key.value), count or 0) for key, count in rows]))
                return
        taken.numbers += [(name, text_of(key), count) for key, count in rows if count is not None]


def check(bpf: Any, lib: Any) -> None:  # noqa: ANN401  # BCC has no types
    """Raises Refused for a program that does more than look on at tracepoints."""
    count = lib.bpf_num_functions(bpf.module)
    names = [lib.bpf_function_name(bpf.module, number) for number in range(count)]
    if not names:
        raise Refused("the program has no function: write TRACEPOINT_PROBE(group, name) { ... }")
    for name in names:
        if not name.startswith(PREFIXES):
            shown = name.decode("utf-8", "replace")[:80]
            raise Refused(f"{shown}: only TRACEPOINT_PROBE and RAW_TRACEPOINT_PROBE are attached")
        code = bpf.dump_func(name)
        for at in range(0, len(code) - 7, 8):
            number = int.from_bytes(code[at + 4 : at + 8], "little")
            if code[at] == CALL and code[at + 1] >> 4 == 0 and number in FORBIDDEN:
                raise Refused(f"{FORBIDDEN[number]} changes another process")


class Words:
    """What is said on standard error meanwhile: libbcc and clang write there."""

    def __init__(self) -> None:
        self._before = os.dup(2)
        self._file = os.memfd_create("words")
        os.dup2(self._file, 2)

    def first(self) -> str:
        """The first lines that name an error in the program itself."""
        sys.stderr.flush()
        size = min(os.lseek(self._file, 0, os.SEEK_END), 1 << 16)
        text = os.pread(self._file, size, 0).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines()]
        own = [line.replace(SOURCE, "line ") for line in lines if line.startswith(SOURCE) and "error: " in line]
        own += [line for line in lines if VERIFIER.search(line)]
        return " | ".join(own[:MOST_WORDS])[:1000]

    def close(self) -> None:
        """As before."""
        os.dup2(self._before, 2)
        os.close(self._before)
        os.close(self._file)


def fields(event: Any) -> dict[str, str]:  # noqa: ANN401  # a ctypes structure
    """The fields of an event by name."""
    return {name: text_of(getattr(event, name)) for name, *_ in type(event)._fields_[:32]}


def text_of(value: Any) -> str:  # noqa: ANN401  # any ctypes value
    """A key or field as text."""
    if isinstance(value, bytes):
        return value.split(b"\0", 1)[0].decode("utf-8", "replace")[:LONGEST]
    if hasattr(value, "_fields_"):
        return ", ".join(f"{name}={text}" for name, text in fields(value).items())[:LONGEST]
    if hasattr(value, "_length_"):
        return " ".join(str(part) for part in list(value)[:32])[:LONGEST]
    return str(getattr(value, "value", value))[:LONGEST]


def count_of(value: Any) -> int | None:  # noqa: ANN401  # any ctypes value
    """A number, or the sum over the CPUs; None for anything else."""
    if isinstance(value, (list, tuple)) or hasattr(value, "_length_"):
        parts = [count_of(part) for part in value]
        return sum(part for part in parts if part is not None) if all(p is not None for p in parts) else None
    number = getattr(value, "value", value)
    return number if isinstance(number, int) else None


def main() -> None:
    """The process."""
    ownmounts.own_tracefs()
    ownmounts.own_headers()
    served = child.Served(*sys.argv[-2:])
    load_bcc()
    served.limit()
    program: Program | None = None
    while (message := served.next()) is not None:
        answer = Answer()
        try:
            load = msgspec.msgpack.decode(message, type=Load | None)
            if load is not None:
                program = Program(load)
            answer.taken = program.take() if program is not None else Taken()
        except Refused as error:
            answer = Answer(str(error), error.kind)
        except (Exception, SystemExit) as error:  # the asker hears of it, whatever it is; BCC exits in some cases
            answer = Answer(f"{type(error).__name__}: {error}"[:LONGEST], "missing")
        served.answer(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
