"""A profile as a tree of calls, and the tree as rows of cells: what flame graphs are drawn from, on any screen.

The root is on top and callees hang below their callers; the widest one comes first, so that the eye goes down the left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.profile import CpuProfile, ProfileFrame, WallProfile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.profile import FrameKind, Profile, ProfileStack

DEEPEST: Final = 512
SOME: Final = 0.01
"""A change of less than this part of all samples is not worth a colour."""
NARROW: Final = 0.75
"""Columns: a narrower node is drawn together with its neighbours."""
ROOT: Final = "all"
UNKNOWN: Final = "not known"
BY: Final = "go by "
NO_LABEL: Final = "no label"
GROUP: Final = "group"
"""Kind of nodes that are no function: creators, labels, threads, states."""
CUT: Final = "[outer frames cut off]"
NO_STACK: Final = "[no stack]"
OTHERS: Final = "[other stacks]"


@dataclass(eq=False, slots=True)
class Node:
    """A function as called by those above it; `kind` as of frames, or "group".

    Attributes:
        value: samples in it and below; `own`: in it itself.
        before: samples of the profile that it is compared with, as many as `value`'s profile had in all would have.
    """

    name: str
    kind: FrameKind | str = ""
    parent: Node | None = None
    value: float = 0.0
    own: float = 0.0
    before: float = 0.0
    file: str = ""
    line: int = 0
    children: dict[tuple[str, str], Node] = field(default_factory=dict)

    def child(self, name: str, kind: str) -> Node:
        """The callee of that name, made when it is not there."""
        found = self.children.get((name, kind))
        if found is None:
            found = self.children[name, kind] = Node(name, kind, self)
        return found

    @property
    def sorted(self) -> list[Node]:
        """The callees, the widest first."""
        return sorted(self.children.values(), key=lambda node: (-node.width, node.name))

    @property
    def width(self) -> float:
        """What its cell stands for: samples; in a comparison the mean of both, so that what has gone is seen too."""
        return self.value if not self.before else (self.value + self.before) / 2

    @property
    def path(self) -> tuple[tuple[str, str], ...]:
        """Names and kinds from below the root down to it: finds it again in the tree of another profile."""
        found: list[tuple[str, str]] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            found.append((node.name, node.kind))
            node = node.parent
        return tuple(reversed(found))

    def at(self, path: Sequence[tuple[str, str]]) -> Node:
        """The node below this one by a path, or as far down as it leads."""
        node = self
        for step in path:
            if step not in node.children:
                break
            node = node.children[step]
        return node

    def walk(self) -> Iterator[Node]:
        """It and all below it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.children.values()


@dataclass(frozen=True, slots=True)
class Look:
    """How a profile is shown.

    Attributes:
        by: what stands below the root: "" nothing, "creator", "thread", "state", or "label:KEY".
        kernel: the kernel's frames are shown; without them its time is that of who called it.
        system: the runtime's own goroutines, and work for none, are shown.
    """

    by: str = ""
    kernel: bool = True
    system: bool = True


def choices(profile: Profile) -> list[str]:
    """What this profile can be grouped by."""
    found = [""]
    if any(stack.creator >= 0 for stack in profile.stacks):
        found.append("creator")
    keys: dict[str, int] = {}
    for stack in profile.stacks:
        for key in profile.label_sets[stack.labels] if 0 <= stack.labels < len(profile.label_sets) else ():
            keys[key] = keys.get(key, 0) + stack.count
    found += [f"label:{key}" for key in sorted(keys, key=lambda key: -keys[key])[:8]]
    if len(profile.threads_named) > 1:
        found.append("thread")
    if profile.states:
        found.append("state")
    return found


def tree(profile: Profile, look: Look) -> Node:
    """The tree of a profile."""
    root = Node(ROOT, GROUP)
    _add(root, profile, look, 1.0, before=False)
    return root


def compared(now: Profile, before: Profile, look: Look) -> Node:
    """The tree of two profiles: `before` of each node is scaled to as many samples as the later one has in all."""
    root = Node(ROOT, GROUP)
    _add(root, now, look, 1.0, before=False)
    total = sum(stack.count for stack in shown(before, look))
    _add(root, before, look, root.value / total if total else 0.0, before=True)
    return root


def shown(profile: Profile, look: Look) -> Iterator[ProfileStack]:
    """The stacks that a look shows."""
    return (stack for stack in profile.stacks if look.system or not stack.system)


def _add(root: Node, profile: Profile, look: Look, scale: float, *, before: bool) -> None:
    omitted = float(profile.omitted)
    for stack in shown(profile, look):
        _one(root, list(_path(profile, stack, look)), stack.count * scale, before=before)
    if omitted and look.system:
        _one(root, [ProfileFrame(OTHERS, "")], omitted * scale, before=before)


def _one(root: Node, path: Sequence[ProfileFrame | str], count: float, *, before: bool) -> None:
    node = root
    _count(node, count, before=before)
    for frame in path[:DEEPEST]:
        if isinstance(frame, str):
            node = node.child(frame, GROUP)
        else:
            node = node.child(frame.function, frame.kind)
            if not node.line:
                node.file, node.line = frame.file, frame.line
        _count(node, count, before=before)
    if not before:
        node.own += count


def _count(node: Node, count: float, *, before: bool) -> None:
    if before:
        node.before += count
    else:
        node.value += count


def _path(profile: Profile, stack: ProfileStack, look: Look) -> Iterator[ProfileFrame | str]:
    """From below the root inwards; a str is a group."""
    if look.by:
        yield group_of(profile, stack, look.by)
    if isinstance(profile, WallProfile) and look.by != "state":
        yield f"[{_named(profile.states, stack.state)}]"
    if stack.cut:
        yield ProfileFrame(CUT, "")
    frames = stack.frames if look.kernel else stack.frames[stack.kernel :]
    for number in reversed(frames):
        if 0 <= number < len(profile.frames):
            yield profile.frames[number]
    if not frames:
        yield ProfileFrame(NO_STACK if not stack.kernel else "[kernel]", "kernel" if stack.kernel else "")


def group_of(profile: Profile, stack: ProfileStack, by: str) -> str:
    """The name of the group that a stack belongs to."""
    if by == "creator":
        if 0 <= stack.creator < len(profile.sites):
            return f"{BY}{profile.sites[stack.creator].function}"
        return "[main goroutine, or none]" if not stack.system else "[the runtime's own, or none]"
    if by == "thread":
        return f"thread {_named(profile.threads_named, stack.thread)}"
    if by == "state":
        return f"[{_named(profile.states, stack.state)}]"
    key = by.removeprefix("label:")
    labels = profile.label_sets[stack.labels] if 0 <= stack.labels < len(profile.label_sets) else {}
    return f"{key}={labels[key]}" if key in labels else NO_LABEL


def _named(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else UNKNOWN


# -- rows of cells


class Cell(NamedTuple):
    """A node on a row: the first column and how many; `more`: how many narrower siblings it stands for (no node)."""

    start: int
    size: int
    node: Node | None
    more: int = 0


def rows(top: Node, width: int) -> list[list[Cell]]:
    """The tree below `top`, which fills the first row, as rows of cells that are `width` columns wide.

    Nodes that are too narrow are drawn together.
    """
    line = [Cell(0, width, top)]
    found = [line]
    while line and len(found) < DEEPEST:
        below: list[Cell] = []
        for cell in line:
            if cell.node is not None:
                below += _below(cell)
        if not below:
            break
        found.append(below)
        line = below
    return found


def _below(cell: Cell) -> Iterator[Cell]:
    """The cells of its callees, from its left edge on; together as wide as their part of it."""
    node = cell.node
    assert node is not None
    total = node.width
    if total <= 0:
        return
    scale = cell.size / total
    children = node.sorted
    wide = [child for child in children if child.width * scale >= NARROW]
    at, done, edge = cell.start, 0.0, cell.start + cell.size
    for child in wide:
        done += child.width * scale
        end = min(max(cell.start + round(done), at + 1), edge)
        if end > at:
            yield Cell(at, end - at, child)
        at = end
    small = children[len(wide) :]
    left = round(sum(child.width for child in small) * scale)
    if small and left > 0 and at < edge:
        yield Cell(at, min(left, edge - at), None, len(small))


def share(node: Node, root: Node) -> float:
    """Its part of all samples, 0..1."""
    return node.value / root.value if root.value else 0.0


def change(node: Node, root: Node) -> float | None:
    """How much its part has grown against the profile before; None where nothing is compared."""
    if not root.before:
        return None
    return (node.value - node.before) / root.value if root.value else None


def matched(root: Node, text: str) -> float:
    """Part of the samples that have a function with the text in its name; of nested ones the outermost counts."""
    wanted = text.lower()
    if not wanted or not root.value:
        return 0.0
    total = 0.0
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if wanted in node.name.lower():
            total += node.value
        else:
            waiting += node.children.values()
    return total / root.value


def unit_of(profile: Profile, value: float) -> str:
    """A number of samples as what it stands for: CPU time, or goroutines on average."""
    if isinstance(profile, WallProfile):
        average = value / profile.looks if profile.looks else 0.0
        return f"{average:,.0f} goroutines" if average >= 10 or average == int(average) else f"{average:.1f} goroutines"
    if isinstance(profile, CpuProfile) and profile.hz:
        return f"{value / profile.hz:.2f} s of CPU"
    return f"{value:,.0f} samples"
