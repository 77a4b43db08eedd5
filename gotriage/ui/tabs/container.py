"""The target's container: how it fares, what it was started with, what it may use, the pod that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.service import ContainerState
from gotriage.render import container
from gotriage.ui.detail import beside, row_page, section
from gotriage.ui.page_tab import PageTab
from gotriage.ui.spans import PageLine, labelled
from gotriage.ui.state import note, nothing_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gotriage.ui.tab import Hint

WIDE = 150
LABEL = 16
WIDEST = 40
"""Cells that labels may take: long ones of an image are cut."""
LEFT = ("Container", "Pod", "Started with", "Limits")
"""Sections of the left column, where there are two."""
COMMANDS = {
    "podman": "podman inspect {container}",
    "containerd": "ctr -n k8s.io containers info {container}",
    "cri-o": "crictl inspect {container}",
    "lxc": "lxc-info -n {container}",
    "nspawn": "machinectl show {container}",
}


class ContainerTab(PageTab):
    """One page of sections; Enter shows everything that is known, nothing cut."""

    every: ClassVar[float] = 1.0
    hints: ClassVar[Sequence[Hint]] = (("⏎", "everything"), ("y", "copy"))

    def lines(self, width: int) -> Sequence[PageLine]:
        """The whole page; why there is none."""
        state, target = self.front.session.latest(ContainerState), self.front.target
        if state is not None:
            lacks = note(self.front, self.view.sources, width)
            lines = page(state, width)
            return [PageLine(lacks), PageLine(), *lines] if lacks else lines
        if target is not None and target.container_id is None and target.core is None:
            return list(_in_none())
        return nothing_page(self.front, self.view, width)

    def keys(self) -> Sequence[Hint]:
        """Nothing can be opened or copied where there is no container."""
        return self.hints if self.front.session.latest(ContainerState) is not None else ()

    def command(self) -> str:
        """What shows the same in a shell."""
        engine = self.front.target.engine if self.front.target is not None else None
        return COMMANDS.get(engine or "", self.view.command)

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """The whole record."""
        state = self.front.session.latest(ContainerState)
        if state is None:
            return None
        return state.name or state.id[:12], lambda width: row_page(state, (), width)


def _in_none() -> Iterator[PageLine]:
    yield PageLine()
    yield PageLine((("– ", "dim"), ("Container", "strong"), (f"   {container.IN_NONE}", "")))


def page(state: ContainerState, width: int) -> list[PageLine]:
    """All sections; two columns of them on a wide terminal."""
    half = width if width < WIDE else (width - 3) // 2
    left: list[PageLine] = []
    right: list[PageLine] = []
    for title, pairs in container.sections(state):
        (left if title in LEFT else right).extend(_some(title, pairs, half))
    wrong = list(_problems(state, width))
    return [*wrong, *left, *right] if width < WIDE else [*wrong, *beside(left, right, half)]


def _some(title: str, pairs: container.Pairs, width: int) -> list[PageLine]:
    widest = max((len(label) for label, value in pairs if value), default=0)
    return list(section(title, pairs, width, column=min(max(widest + 2, LABEL), WIDEST))) if widest else []


def _problems(state: ContainerState, width: int) -> Iterator[PageLine]:
    """What is wrong with it."""
    for label, text in container.problems(state):
        for spans in labelled(f"▲ {label}", text or "–", width, role="warning", indent=0, column=LABEL + 2):
            yield PageLine(spans, ("problem", label))
    if any(True for _ in container.problems(state)):
        yield PageLine()
