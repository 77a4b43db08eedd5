"""The log view on 1,000,000 lines: from key to paint, while scrolling, filtering and searching.

The app runs headless at 200x50 on a session of that many lines. For each key, the time from its arrival to the end of
the next painting of the screen is taken, with everything that runs in the event loop in between; a filter goes on in
steps, and the keys that are pressed meanwhile are measured too. Beside it, the same keys on 1,000 lines, and the CPU
time of the program in each of these spans: what remains where nothing else runs on the machine.

    python -m bench.log_view [--lines 1000000] [--keys 200]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gotriage.records.findings import Verdict
from gotriage.records.logs import LogLine, LogLines
from gotriage.session.store import Session
from gotriage.ui.app import GotriageApp
from gotriage.ui.front import Front
from gotriage.ui.tabs.logs import LogsTab

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
LEVELS = ("info", "info", "info", "warn", "info", "error")
BATCH = 5000
FEW = 1000
NOTHING = 0.5
"""Seconds after which a key has changed nothing on the screen: beyond the first line, for instance."""


def session(lines: int) -> tuple[Session, float, float]:
    """A session with so many lines; seconds to take them in, and the longest for a batch of 5,000."""
    made, total, longest = Session(bounded=False), 0.0, 0.0
    for begin in range(0, lines, BATCH):
        rows = tuple(
            LogLine(
                at=START + timedelta(microseconds=number * 700),
                source="journal",
                message=f"GET /orders/{number} 502 upstream timeout" if number % 3 else f"worker {number % 8} finished",
                level=LEVELS[number % 6],
                priority=6,
                identifier="orders-api",
                pid=4000,
                fields={"path": f"/orders/{number % 5000}", "took_ms": str(number % 311)} if number % 2 else {},
            )
            for number in range(begin, min(begin + BATCH, lines))
        )
        begun = time.perf_counter()
        made.feed(LogLines(at=rows[-1].at, rows=rows))
        took = time.perf_counter() - begun
        total, longest = total + took, max(longest, took)
    return made, total, longest


class Calm(Front):
    """A front without rules: their price is measured elsewhere."""

    def verdict(self) -> Verdict:
        return Verdict()


Span = tuple[float, float]
"""Milliseconds that something took, and the CPU time in them."""


class Measured(GotriageApp):
    """Knows when the screen was last painted."""

    painted = 0.0
    used = 0.0

    def _display(self, screen: object, renderable: object) -> None:
        super()._display(screen, renderable)  # type: ignore[arg-type]
        self.painted, self.used = time.perf_counter(), time.process_time()

    async def timed(self, act: Callable[[], object]) -> list[Span]:
        """From an action to the painting that follows it; empty when it changes nothing on the screen."""
        begun, used = time.perf_counter(), time.process_time()
        act()
        while self.painted < begun and time.perf_counter() - begun < NOTHING:
            await asyncio.sleep(0)
        return [((self.painted - begun) * 1000, (self.used - used) * 1000)] if self.painted >= begun else []


async def press(app: Measured, keys: list[str]) -> list[Span]:
    """From each key to the painting that follows it."""
    from textual.events import Key

    times = []
    for name in keys:
        key = Key(name, name if len(name) == 1 else None)
        times += await app.timed(lambda key=key: app.post_message(key))  # type: ignore[misc]  # the key of now
        await asyncio.sleep(0.002)
    return times


async def settle(tab: LogsTab) -> Span:
    """Until a filter has looked at every line."""
    begun, used = time.perf_counter(), time.process_time()
    while not tab._view.complete:
        await asyncio.sleep(0.002)
    return (time.perf_counter() - begun) * 1000, (time.process_time() - used) * 1000


async def run(made: Session, keys: int) -> dict[str, list[Span]]:
    app = Measured(Calm(made))
    found: dict[str, list[Span]] = {}
    async with app.run_test(size=(200, 50)) as pilot:
        await pilot.press("3")
        await pilot.pause(0.5)
        tab = app.screen.query_one(LogsTab)
        found["page up"] = await press(app, ["pageup"] * keys)
        found["line up"] = await press(app, ["up"] * keys)
        found["first and last line"] = await press(app, ["home", "end"] * (keys // 8))
        found["level: next"] = []
        for _ in range(8):
            found["level: next"] += await press(app, ["l"])
            found.setdefault("keys while it filters", []).extend(await press(app, ["pageup", "up", "pagedown"] * 3))
            await settle(tab)
        for text in ("timeout", "path=/orders/77", "nosuchtext"):
            took = await app.timed(lambda text=text: tab.narrow(text))  # type: ignore[misc]  # the text of now
            found.setdefault("filter by text or field", []).extend(took)
            found["keys while it filters"] += await press(app, ["pageup", "up", "pagedown"] * 5)
            found.setdefault("(filter complete, ms)", []).append(await settle(tab))
        tab.narrow("")
        await pilot.pause(0.2)
        found["similar lines as one"] = await press(app, ["a"])
        found["keys while it groups"] = await press(app, ["down", "up"] * 30)
    return found


def row(name: str, times: list[Span]) -> str:
    text = f"{name:28}{len(times):6}"
    for column in zip(*times, strict=True):
        ordered = sorted(column)
        last = ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)]
        text += f"{statistics.median(ordered):10.1f}{last:10.1f}{ordered[-1]:10.1f}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=200)
    options = parser.parse_args()
    for lines in (FEW, options.lines):
        made, total, longest = session(lines)
        print(
            f"\n{lines:,} lines; taken in within {total:.1f} s, a batch of {BATCH:,} in {longest * 1000:.0f} ms at most"
        )
        found = asyncio.run(run(made, options.keys if lines > FEW else 20))
        print(f"{'key to paint, ms':28}{'n':>6}{'median':>10}{'p99':>10}{'max':>10}{'CPU':>10}{'p99':>10}{'max':>10}")
        for name, times in found.items():
            if times:
                print(row(name, times))
        keyed = [took for name, times in found.items() if not name.startswith("(") for took in times]
        print(row("all", keyed))


if __name__ == "__main__":
    main()
