"""Lines and pages of the profile tab: what was sampled, what the cursor stands on, why there is nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from gotriage.catalog import source
from gotriage.records.profile import CpuProfile
from gotriage.render import flame, profile, units
from gotriage.render.goroutines import place
from gotriage.render.text import wrap
from gotriage.ui.spans import PageLine, cut_spans, fit, labelled, spread, width_of
from gotriage.ui.state import FORBIDDEN
from gotriage.ui.traces import trace_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.profile import Profile, TopFunction
    from gotriage.render.flame import Look, Node
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span, Spans

FEW: Final = 12
"""Callers and callees that a page names."""
CPU_TEXT: Final = (
    "Samples what runs on every CPU 99 times a second for 5 seconds, with the stacks of the program and of the kernel."
    " Names come from the program's own tables, also of a stripped one; each sample knows its goroutine."
)
WALL_TEXT: Final = (
    "Reads from memory, ten times a second for 5 seconds, where every goroutine is: on a CPU, waiting for a channel, a"
    " lock, the network. Nothing is stopped, and no privilege is needed but reading the process."
)


def summary(shown: Profile, base: Profile | None, look: Look, width: int, *, threads: bool) -> Spans:
    """What was sampled, and how it is shown; with `threads` what they waited for comes first."""
    told = profile.waits(shown) if isinstance(shown, CpuProfile) else ""
    waited: Span = (told, "warning" if isinstance(shown, CpuProfile) and shown.throttled_seconds else "dim")
    texts: list[Span] = [(profile.summary(shown), ""), *([waited] if told else [])]
    left: list[Span] = []
    for span in reversed(texts) if threads else texts:
        left += [("  " if left else " ", ""), span]
    if shown.lost:
        left.append((f"  {units.count(shown.lost)} lost", "warning"))
    right: list[Span] = []
    if base is not None:
        right.append((f" against {units.clock(base.began)}, ±{profile.noise(shown, base):.0%} is chance ", "accent"))
    if look.by:
        right.append((f" by {look.by.replace(':', ' ')} ", "accent"))
    if not look.kernel:
        right.append((" no kernel ", "dim"))
    if not look.system:
        right.append((" no runtime goroutines ", "dim"))
    return spread(left, right, width)


def under_cursor(shown: Profile, node: Node, root: Node, width: int) -> Spans:
    """The chosen node: its name, its part, what that stands for, and where it is."""
    facts: list[Span] = [(f"  {units.share(flame.share(node, root))}", "strong")]
    changed = flame.change(node, root)
    if changed is not None:
        role = "critical" if changed > 0 else "good"
        facts.append((f"  {profile.points(changed)} points", role if abs(changed) >= flame.SOME else "dim"))
    facts.append((f"  {flame.unit_of(shown, node.value)}", ""))
    if root.value and node.children:
        facts.append((f"  own {units.share(node.own / root.value)}", "dim"))
    if node.file and node.line:
        facts.append((f"  {place(node.file, node.line)}", "dim"))
    room = width - 1 - width_of(facts)
    name = fit(node.name, min(max(room, 16), len(node.name))) if room < len(node.name) else node.name
    return cut_spans([(" ", ""), (name, "strong"), *facts], width)


# -- a function


def function_page(shown: Profile, row: TopFunction, width: int) -> Iterator[PageLine]:
    """Its numbers, who calls it, whom it calls, whose goroutines run it."""
    yield PageLine(((row.function, "title"),))
    if row.file:
        yield PageLine(((f"  {row.file}:{row.line}" if row.line else f"  {row.file}", "dim"),))
    yield PageLine()
    for label, value, count in (
        ("itself", row.flat_share, row.flat),
        ("with what it calls", row.cum_share, row.cum),
        ("answers for", row.own_share, row.own),
    ):
        text = f"{units.share(value):>7}  {count:,} samples, {flame.unit_of(shown, count)}"
        yield from (PageLine(spans) for spans in labelled(label, text, width, indent=2, column=20))
    callers, callees, creators = _around(shown, row)
    for title, counter in (("called by", callers), ("calls", callees), ("goroutines created by", creators)):
        if not counter:
            continue
        yield PageLine()
        yield PageLine(((title, "heading"),))
        for name, count in counter.most_common(FEW):
            yield PageLine((("  ", ""), (f"{count / max(row.cum, 1):>6.0%}  ", "dim"), (name, "")))


def _around(shown: Profile, row: TopFunction) -> tuple[Counter[str], Counter[str], Counter[str]]:
    callers: Counter[str] = Counter()
    callees: Counter[str] = Counter()
    creators: Counter[str] = Counter()
    for stack in shown.stacks:
        names = [shown.frames[number].function for number in stack.frames if 0 <= number < len(shown.frames)]
        if row.function not in names:
            continue
        at = names.index(row.function)
        callees[names[at - 1] if at else "(itself)"] += stack.count
        outer = next((name for name in names[at + 1 :] if name != row.function), "(nothing above it)")
        callers[outer] += stack.count
        if 0 <= stack.creator < len(shown.sites):
            creators[shown.sites[stack.creator].function] += stack.count
    return callers, callees, creators


# -- nothing


def nothing_page(front: Front, kind: str, width: int) -> Sequence[PageLine]:
    """What a profile would tell and how to take one; or why none can be taken, and what can be instead."""
    row = trace_of(front, kind)
    title = "CPU profile" if kind == "profile" else "Wall-clock profile"
    if row is not None and row.state in ("refused", "failed"):
        return list(_refused(title, row.reason, row.remedy, kind, width))
    lines = [PageLine()]
    if row is not None and row.active:
        lines.append(PageLine((("– ", "dim"), (title, "strong"), ("   being taken …", "dim"))))
        return lines
    catalogued = source(kind)
    price = catalogued.price if catalogued is not None else ""
    lines.append(PageLine((("– ", "dim"), (title, "strong"), (f"   none so far   {price}", "dim"))))
    lines += [
        PageLine((("    ", ""), (text, ""))) for text in wrap(CPU_TEXT if kind == "profile" else WALL_TEXT, width - 6)
    ]
    if front.link is not None and not front.finished:
        lines += [
            PageLine(),
            PageLine((("    [r]", "key"), (" take one, 5 s    ", ""), ("[a]", "key"), (" again and again", ""))),
        ]
        other = "wall-clock profile of all goroutines, nothing is stopped" if kind == "profile" else "CPU profile"
        lines.append(PageLine((("    [w]", "key"), (f" {other}", ""))))
    return lines


def _refused(title: str, reason: str, remedy: str, kind: str, width: int) -> Iterator[PageLine]:
    denied = "permi" in reason.lower() or "paranoid" in reason.lower()
    yield PageLine()
    sign, word = (FORBIDDEN, "not permitted") if denied else (units.UNKNOWN, "not possible here")
    yield PageLine(((f"{sign} ", "warning"), (title, "strong"), (f"   {word}", "warning")))
    lost = (
        "flame graph of what runs on CPUs, user and kernel stacks" if kind == "profile" else "where all goroutines are"
    )
    for label, text, role in (("reason", reason, ""), ("lost", lost, ""), ("to allow", remedy, "accent")):
        if text:
            for spans in labelled(label, text, width, role=role, indent=4, column=11):
                yield PageLine(spans)
    if kind == "profile":
        text = "[w] wall-clock profile from goroutine reads, no privileges more"
        for spans in labelled("instead", text, width, role="key", indent=4, column=11):
            yield PageLine(spans)
