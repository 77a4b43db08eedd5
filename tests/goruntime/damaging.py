"""Attach to a recorded process again and again, each time damaged in another way: `python -m ... PID SEED BYTES`.

Runs in a process of its own with little memory: a crash, an endless loop or a huge allocation ends that. Writes a line
before each round, so that whoever reads knows which one it was, and at the end how many there were.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import traceback
from pathlib import Path

import numpy as np
from gotriage.errors import GotriageError
from gotriage.goruntime import goroutines, machines, waits
from gotriage.goruntime.runtime import Runtime
from gotriage.host import cache

from tests.goruntime.recorded import Recorded
from tests.goruntime.test_pclntab import mutated, places

ROOM = 1 << 30
"""Bytes beyond the recorded memory that a look may take."""
CPU_SECONDS = 20.0
"""CPU time of a round: hundreds of times what a healthy one needs."""
ODD = (0, 1, 7, 8, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 47) - 8, 1 << 47, (1 << 63) - 1, 1 << 63,
       (1 << 64) - 1, (1 << 64) - 8)  # fmt: skip
STRUCTS = ("g", "m", "p", "sudog", "hchan", "mspan", "timer", "mheap", "schedt", "gcControllerState", "mstats")


class Endless(BaseException):
    """A round took too much CPU time."""


def _endless(*_):
    raise Endless


class Damage:
    """Knows where what lies in the recorded process, and breaks it."""

    def __init__(self, memory: Recorded, rng: random.Random) -> None:
        self.memory, self.rng = memory, rng
        with Runtime(memory) as runtime:
            self.layout = runtime.layout
            self.globals = dict(runtime.found.places)
            columns = goroutines.read(memory, runtime.layout, runtime.found)
            found = waits.find_waits(memory, runtime.layout, runtime.found, columns)
            first = runtime.source.plain("allm", 8, signed=False)
            self.structs = {
                "g": columns.address.tolist(),
                "sudog": [*found.sudogs.tolist(), *columns.unsigned("waiting").tolist()],
                "hchan": found.channels.address.tolist() if found.channels is not None else [],
                "m": machines.every(memory, runtime.layout, first).tolist(),
                "p": self._list("allp"),
                "mspan": self._spans(),
            }
            self.structs = {name: [each for each in places if each] for name, places in self.structs.items()}
            self.modules = [module.address for module in runtime.image.modules]
            both = zip(columns.sp.tolist(), columns.unsigned("hi").tolist(), strict=True)
            self.stacks = [(sp, hi) for sp, hi in both if sp < hi]
            self.labels = [each for each in columns.unsigned("labels").tolist() if each]
        self.program = Path(f"/proc/{memory.pid}/exe").read_bytes()
        self.parts = places(Path(os.readlink(f"/proc/{memory.pid}/exe")))

    def _list(self, name: str) -> list[int]:
        pointer, length = np.frombuffer(self.memory.read(self.globals[name], 16), np.uint64).tolist()
        return np.frombuffer(self.memory.read(pointer, 8 * length), np.uint64).tolist()

    def _spans(self) -> list[int]:
        place = self.globals["mheap_"] + self.layout.offset("mheap", "allspans")
        pointer, length = np.frombuffer(self.memory.read(place, 16), np.uint64).tolist()
        return np.frombuffer(self.memory.read(pointer, 8 * length), np.uint64).tolist()

    def offsets(self, struct: str) -> list[int]:
        """Where the fields of a struct begin."""
        return [field.offset for field in self.layout.structs[struct].fields.values()]

    def value(self) -> int:
        """A number that hurts: odd, random, or the address of something, often of the wrong kind."""
        rng = self.rng
        how = rng.randrange(5)
        if how == 0:
            return rng.choice(ODD)
        if how == 1:
            return rng.getrandbits(64)
        if how == 2:
            return rng.randrange(1 << rng.randrange(1, 40))
        if how == 3:
            return rng.choice(rng.choice([places for places in self.structs.values() if places]))
        low, high = rng.choice(self.memory.writable())
        return rng.randrange(low, high) & ~7

    def _put(self, address: int) -> None:
        self.memory.write(address, self.value().to_bytes(8, "little")[: self.rng.choice((1, 2, 4, 8, 8, 8))])

    # -- ways

    def field(self) -> None:
        """A field that is read, of many structs or of one."""
        rng = self.rng
        name = rng.choice([name for name, places in self.structs.items() if places])
        chosen = self.structs[name] if rng.random() < 0.3 else rng.choices(self.structs[name], k=rng.choice((1, 1, 10)))
        offset = rng.choice(self.offsets(name))
        same = self.value() if rng.random() < 0.5 else None
        for address in chosen:
            if same is None:
                self._put(address + offset)
            else:
                self.memory.write(address + offset, same.to_bytes(8, "little"))

    def cycle(self) -> None:
        """Links of lists and trees that lead back."""
        rng = self.rng
        struct, paths = rng.choice((("sudog", ("prev", "next", "waitlink")), ("m", ("alllink",)), ("g", ("waiting",))))
        chosen = self.structs[struct]
        for path in paths:
            for _ in range(rng.choice((1, 5, len(chosen)))):
                target = rng.choice(self.structs["sudog" if struct == "g" else struct])
                self.memory.write(rng.choice(chosen) + self.layout.offset(struct, path), target.to_bytes(8, "little"))

    def variable(self) -> None:
        """A variable of the runtime: a length, a list's address, a number."""
        name = self.rng.choice(list(self.globals))
        for _ in range(self.rng.choice((1, 1, 4))):
            self._put(self.globals[name] + 8 * self.rng.choice((0, 1, 1, 2, self.rng.randrange(64))))

    def far_field(self) -> None:
        """A field inside of one of the large variables."""
        name, struct = self.rng.choice(
            (("sched", "schedt"), ("gcController", "gcControllerState"), ("memstats", "mstats"), ("mheap_", "mheap"))
        )
        offset = self.rng.choice(self.offsets(struct))
        self._put(self.globals[name] + offset + 8 * self.rng.choice((0, 0, 1, 2)))

    def semaphores(self) -> None:
        """Roots of the semaphore table."""
        for _ in range(self.rng.choice((1, 20, 251))):
            self._put(self.globals["semtable"] + 64 * self.rng.randrange(251) + self.rng.choice((0, 8, 16)))

    def stack(self) -> None:
        """Words of stacks."""
        for _ in range(self.rng.choice((1, 20, 400))):
            low, high = self.rng.choice(self.stacks)
            self._put(self.rng.randrange(low, high) & ~7)

    def text(self) -> None:
        """Labels, strings and what leads to them."""
        address = self.rng.choice(self.labels or self.structs["g"])
        for _ in range(self.rng.choice((1, 6))):
            self._put(address + 8 * self.rng.randrange(6))
        with_pointer = int.from_bytes(self.memory.read(address, 8), "little")
        self._put(with_pointer + 8 * self.rng.randrange(8))

    def module(self) -> None:
        """The module data, and the program's tables as they lie in memory."""
        for _ in range(self.rng.choice((1, 3))):
            self._put(self.rng.choice(self.modules) + 8 * self.rng.randrange(80))

    def anywhere(self) -> None:
        """Any bytes that the program could have written itself, some or whole pages."""
        for _ in range(self.rng.choice((1, 50, 1000))):
            low, high = self.rng.choice(self.memory.writable())
            address = self.rng.randrange(low, high)
            if self.rng.random() < 0.1:
                self.memory.write(address & -4096, self.rng.randbytes(4096))
            else:
                self._put(address)

    def flip(self) -> None:
        """Every read may be damaged, and the same place otherwise the next time."""
        self.memory.flips = self.rng.choice((0.001, 0.02, 0.3))

    def file(self) -> None:
        """The program's file, while memory is in order."""
        data = bytearray(self.program)
        mutated(data, self.rng, self.rng.choice(self.parts))
        fd = os.memfd_create("damaged")
        os.write(fd, data)
        self.memory.file = fd

    def once(self) -> str:
        """One or several ways; what they are called."""
        names = ("field", "field", "field", "cycle", "variable", "variable", "far_field", "semaphores", "stack", "text")
        names = (*names, "module", "anywhere", "flip", "file")
        chosen = [self.rng.choice(names) for _ in range(self.rng.choice((1, 1, 1, 2, 5)))]
        for name in chosen:
            getattr(self, name)()
        return "+".join(chosen)


def look(runtime: Runtime, rng: random.Random) -> int:
    """Everything that can be asked; how many of the questions were answered."""
    answered = 0
    for ask in (
        lambda: runtime.dump(rng.choice((10, 5000)), locks=rng.random() < 0.8),
        lambda: runtime.counters(spans=rng.random() < 0.7),
        lambda: runtime.goroutine(rng.choice((1, 2, 20, 1 << 60))),
        lambda: runtime.dump(100),
    ):
        try:
            ask()
            answered += 1
        except GotriageError as error:
            assert str(error)
    return answered


def one_round(memory: Recorded, damage: Damage, rng: random.Random) -> int:
    """Damage that is there from the beginning, or comes while it is watched."""
    late = rng.random() < 0.4
    runtime = Runtime(memory) if late else None
    print("round", damage.once(), "late" if late else "", flush=True)
    try:
        if runtime is None:
            runtime = Runtime(memory)
        return look(runtime, rng)
    except GotriageError as error:
        assert str(error)
        return 0
    finally:
        if runtime is not None:
            runtime.close()
        if memory.file is not None:
            os.close(memory.file)
        memory.restore()


class Kept:
    """Instead of the files that outlive a process (host.cache): what is read there may be damaged too."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.kept = rng, b""
        cache.load, cache.store = self.load, self.store

    def load(self, name: str, place: str | None = None) -> bytes | None:
        data = bytearray(self.kept)
        if not data or self.rng.random() < 0.7:
            return None
        for _ in range(self.rng.choice((0, 1, 5))):
            data[self.rng.randrange(len(data))] = self.rng.choice((*b'0123456789-"', self.rng.randrange(256)))
        return bytes(data)

    def store(self, name: str, data: bytes, place: str | None = None) -> None:
        self.kept = data


def main() -> None:
    pid, seed, most = map(int, sys.argv[1:4])
    rng = random.Random(seed)
    Kept(rng)
    memory = Recorded(pid, rng)
    damage = Damage(memory, rng)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    signal.signal(signal.SIGPROF, _endless)
    rounds = answered = failed = 0
    memory.served = 0
    while memory.served < most and failed < 20:
        rounds += 1
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            answered += one_round(memory, damage, rng)
        except (Exception, Endless):
            failed += 1
            print("FAILED", rounds, traceback.format_exc(), flush=True)
            memory.restore()
        signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"done {rounds} {answered} {failed} {memory.served}", flush=True)


if __name__ == "__main__":
    main()
