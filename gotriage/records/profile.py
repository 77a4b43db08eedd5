"""Where the target's time goes: stacks that were sampled on CPUs, or of all goroutines whatever they do."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from gotriage.records.base import Record, Row

FrameKind = Literal["user", "library", "std", "runtime", "c", "kernel", ""]
"""Whose code a frame is: of the program's own module, of other Go modules, of the standard library, of the Go runtime
(the collector too), of C and its like, of the kernel; "" where not even that is known."""


class ProfileFrame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A place in the code; `inlined`: it has no frame of its own. `named` is False where only its file is known."""

    function: str
    kind: FrameKind = ""
    file: str = ""
    line: int = 0
    inlined: bool = False
    named: bool = True


class ProfileStack(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stack and how often it was met.

    Attributes:
        count: samples; in a wall-clock profile one for each goroutine and each look.
        frames: indices into `frames` of the profile, the innermost first.
        kernel: how many of them, from the first on, are the kernel's.
        creator: index into `sites`: the function of the go statement of the goroutine; -1 where that is not known.
        labels: index into `label_sets`: its pprof labels; -1 for none.
        state: index into `states`: what it was doing; -1 on a CPU.
        thread: index into `threads_named`: name of the kernel thread; -1 where it was not told.
        system: it was one of the runtime's own goroutines, or none at all in a Go program.
        cut: the walk went astray or was too long: the outermost frames are not the first ones.
    """

    count: int
    frames: tuple[int, ...] = ()
    kernel: int = 0
    creator: int = -1
    labels: int = -1
    state: int = -1
    thread: int = -1
    system: bool = False
    cut: bool = False


class TopFunction(Row, frozen=True, kw_only=True):
    """A function over all stacks.

    Attributes:
        flat, cum: samples in it itself, and in it or in what it called; `flat_share`, `cum_share` of all samples.
        own: samples in it and in what it called of the standard library, the runtime, C and the kernel: what it is
            answerable for. Of functions of such kinds 0.
        caller: the function that called it most often of those that are not the runtime's; "" for none.
        caller_share: part of its samples that came that way.
        file, line: the place in it that was met most often.
        creator: the go statement most of its samples belong to, "" where that is not known.
    """

    function: str
    frame_kind: FrameKind = ""
    flat: int = 0
    cum: int = 0
    own: int = 0
    flat_share: float = 0.0
    cum_share: float = 0.0
    own_share: float = 0.0
    caller: str = ""
    caller_share: float = 0.0
    file: str = ""
    line: int = 0
    creator: str = ""


class ThreadTime(Row, frozen=True, kw_only=True):
    """A kernel thread while the profile was taken (/proc/PID/task/TID/schedstat).

    `running`, `waiting`: seconds on a CPU, and runnable but kept waiting for one; `slices`: how often it got one.
    """

    tid: int
    name: str = ""
    running: float = 0.0
    waiting: float = 0.0
    slices: int = 0


class Profile(Record, frozen=True, kw_only=True):
    """What both kinds have. While one is being taken it is sent again and again, with the same `run`.

    Attributes:
        run: tells this profile from the others of the session.
        began: when its first sample was due; `seconds`: how long was sampled; `hz`: how often a second.
        samples: how many were taken; `lost`: how many more the kernel could not hand over, None where it does not say.
        rows: functions by their own samples, the largest first, at most some hundred.
        stacks: the commonest first; `omitted`: samples of stacks that were left out.
        attributed: samples whose goroutine is known; None where there is no Go runtime that is understood.
        user_frames, named_frames: frames outside of the kernel, and those whose function is known.
        notes: what has to be known to read it, in sentences.
    """

    keep: ClassVar[int] = 40

    run: int = 0
    began: datetime | None = None
    seconds: float = 0.0
    hz: float = 0.0
    samples: int = 0
    lost: int | None = None
    rows: tuple[TopFunction, ...] = ()
    frames: tuple[ProfileFrame, ...] = ()
    stacks: tuple[ProfileStack, ...] = ()
    omitted: int = 0
    sites: tuple[ProfileFrame, ...] = ()
    label_sets: tuple[dict[str, str], ...] = ()
    states: tuple[str, ...] = ()
    threads_named: tuple[str, ...] = ()
    attributed: int | None = None
    user_frames: int = 0
    named_frames: int = 0
    notes: tuple[str, ...] = ()

    @property
    def named_share(self) -> float | None:
        """Part of the frames outside of the kernel whose function is known."""
        return self.named_frames / self.user_frames if self.user_frames else None


class CpuProfile(Profile, frozen=True, kw_only=True, tag="cpu_profile"):
    """Threads on CPUs. A sample stands for 1/hz seconds of CPU time.

    Attributes:
        threads: those that ran or waited most, the busiest first; `omitted_threads` more.
        running, waiting: of all threads, seconds on CPUs and seconds runnable but kept waiting for one.
        throttled_seconds: the cgroup's threads stopped by its CPU quota, added up; None where there is no quota.
        throttled_periods, periods: of the quota, meanwhile.
        kernel: stacks of the kernel were sampled too.
    """

    threads: tuple[ThreadTime, ...] = ()
    omitted_threads: int = 0
    running: float | None = None
    waiting: float | None = None
    throttled_seconds: float | None = None
    throttled_periods: int | None = None
    periods: int | None = None
    kernel: bool = True

    @property
    def cores(self) -> float | None:
        """CPUs' worth of time that the samples stand for."""
        return self.samples / self.hz / self.seconds if self.hz and self.seconds else None


class WallProfile(Profile, frozen=True, kw_only=True, tag="wall_profile"):
    """All goroutines, whatever they do. A stack's count over `looks` is the number of goroutines there on average.

    Attributes:
        looks: how often all goroutines were looked at; `samples` counts each goroutine of each look.
        took: seconds of reading, all looks together; the target was not paused.
    """

    looks: int = 0
    took: float = 0.0

    @property
    def goroutines(self) -> float | None:
        """How many there were on average."""
        return self.samples / self.looks if self.looks else None
