"""The screen of the views: number keys change between them; what a view cannot know of itself is done here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.containers import Vertical

from gotriage.catalog import VIEWS, view
from gotriage.ui.screens.frame import Frame
from gotriage.ui.screens.page import PageScreen
from gotriage.ui.screens.work import Work
from gotriage.ui.widgets.chrome import TabBar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.widget import Widget

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.ui.front import Front
    from gotriage.ui.tab import Hint, Tab
    from gotriage.ui.widgets.chrome import OneLine
    from gotriage.ui.widgets.lines import LineView

OWN_TABS = {
    "findings": "gotriage.ui.tabs.findings:FindingsTab",
    "overview": "gotriage.ui.tabs.overview:OverviewTab",
    "logs": "gotriage.ui.tabs.logs:LogsTab",
    "limits": "gotriage.ui.tabs.limits:LimitsTab",
    "goroutines": "gotriage.ui.tabs.goroutines:GoroutinesTab",
    "runtime": "gotriage.ui.tabs.runtime:RuntimeTab",
    "files": "gotriage.ui.tabs.files:FilesTab",
    "libraries": "gotriage.ui.tabs.libraries:LibrariesTab",
    "environment": "gotriage.ui.tabs.environment:EnvironmentTab",
    "namespaces": "gotriage.ui.tabs.namespaces:NamespacesTab",
    "calls": "gotriage.ui.tabs.calls:CallsTab",
    "profile": "gotriage.ui.tabs.profile:ProfileTab",
    "http": "gotriage.ui.tabs.http:HttpTab",
    "syscalls": "gotriage.ui.tabs.syscalls:SyscallsTab",
    "probes": "gotriage.ui.tabs.probes:ProbesTab",
    "paths": "gotriage.ui.tabs.paths:PathsTab",
    "minimal": "gotriage.ui.tabs.minimal:MinimalTab",
    "dns": "gotriage.ui.tabs.dns:DnsTab",
    "tls": "gotriage.ui.tabs.tls:TlsTab",
    "network": "gotriage.ui.tabs.network:NetworkTab",
    "firewall": "gotriage.ui.tabs.firewall:FirewallTab",
    "container": "gotriage.ui.tabs.container:ContainerTab",
    "security": "gotriage.ui.tabs.security:SecurityTab",
    "reach": "gotriage.ui.tabs.reach:ReachTab",
}
"""Views with a tab of their own; the others get the generic table. Loaded when first seen."""


def make_tab(front: Front, row: View) -> Tab:
    """The tab of a view."""
    module, _, name = OWN_TABS.get(row.id, "gotriage.ui.table_tab:TableTab").partition(":")
    made: Tab = getattr(import_module(module), name)(front, row)
    return made


class TabScreen(Work, Frame):
    """The views of the catalogue, one at a time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *[Binding(row.key, f"view('{row.id}')", show=False) for row in VIEWS],
        Binding("tab,right_square_bracket", "turn(1)", show=False),
        Binding("shift+tab,left_square_bracket", "turn(-1)", show=False),
        Binding("o", "sort(False)", show=False, id="sort"),
        Binding("O", "sort(True)", show=False),
        Binding("ampersand", "narrow", show=False, id="filter"),
    ]

    def __init__(self, front: Front, first: str = "findings") -> None:
        super().__init__(front)
        self.active = first
        self._tabs: dict[str, Tab] = {}
        self._way: list[str] = []

    # -- frame

    def top_line(self) -> OneLine:
        """The line under the identity."""
        return TabBar(VIEWS, lambda: self.active)

    def body(self) -> Sequence[Widget]:
        """What stands between rule and footer."""
        return (self._tab(self.active),)

    def compose(self) -> ComposeResult:
        """As the frame; the first tab takes the keys."""
        yield from super().compose()

    def on_mount(self) -> None:
        """The first tab."""
        self.tab.take_focus()
        self.tab.pull_now()

    def hints(self) -> Sequence[Hint]:
        """Keys that work here."""
        space = ("Space", "pause" if self.front.session.at_head else "go on")
        step = [] if self.front.session.at_head else [(", .", "step"), ("t", "time")]
        return [*self.tab.keys(), *step, space, ("e", "command"), ("S", "snapshot"), ("/", "search")]

    def _tab(self, view_id: str) -> Tab:
        if view_id not in self._tabs:
            row = view(view_id)
            assert row is not None
            self._tabs[view_id] = make_tab(self.front, row)
        return self._tabs[view_id]

    @property
    def tab(self) -> Tab:
        """The tab in sight."""
        return self._tab(self.active)

    def arrived(self, kind: type[Record]) -> None:
        """Hand it on to what is in sight."""
        self.tab.arrived(kind)

    def moved(self) -> None:
        """Show the other moment."""
        self.tab.pull_now()

    def on_screen_resume(self) -> None:
        """Back from a page above: catch up."""
        if self.tab.is_mounted:
            self.tab.pull_now()
            self.update_lines()

    # -- views

    async def open(self, view_id: str, *, remember: bool = True) -> None:
        """Bring a view into sight."""
        if view_id == self.active:
            return
        if remember:
            self._way.append(self.active)
        before, self.active = self.tab, view_id
        before.display = False
        before.left()
        tab = self.tab
        if tab.is_mounted:
            tab.display = True
        else:
            await self.query_one("#body", Vertical).mount(tab)
        tab.take_focus()
        tab.pull_now()
        self.update_lines()

    async def action_view(self, view_id: str) -> None:
        """The view of a number key."""
        await self.open(view_id)

    async def action_turn(self, step: int) -> None:
        """The next or the previous view."""
        names = [row.id for row in VIEWS]
        await self.open(names[(names.index(self.active) + step) % len(names)])

    async def action_back(self) -> None:  # type: ignore[override]  # Textual awaits actions that are coroutines
        """The view seen before this one."""
        self.unsay()
        if self.undo():
            return
        if self._way:
            await self.open(self._way.pop(), remember=False)

    def undo(self) -> bool:
        """One step inside the view."""
        return self.tab.back()

    async def on_tab_bar_chosen(self, event: TabBar.Chosen) -> None:
        """A click on the tab bar."""
        await self.open(event.view_id)

    # -- what works on the selection

    def on_line_view_entered(self, event: LineView.Entered) -> None:
        """Enter: the selection's own page, above this one."""
        event.stop()
        detail = self.tab.detail()
        if detail is None:
            return
        name, build = detail
        onward = self.tab.target_view()
        row = view(onward) if onward else None
        go = (f"{row.title}", lambda: self.call_next(self.open, row.id)) if row is not None else None
        self.app.push_screen(PageScreen(self.front, (self.tab.view.title, name), build, onward=go))

    def on_line_view_moved(self) -> None:
        """Other keys may work on another row."""
        self.update_lines()

    def find(self, text: str, step: int) -> bool:
        """The next or previous place with the text."""
        return self.tab.find(text, step)

    def copied(self) -> str:
        """The selection as text."""
        return self.tab.copied()

    def action_sort(self, reverse: bool) -> None:
        """Sort by the next column."""
        order = self.tab.sort(reverse=reverse)
        self.say(f"sorted by {order}" if order else "nothing to sort here")

    def action_narrow(self) -> None:
        """Ask for what rows must contain."""
        self.ask("only rows with", self._narrow, hint="  ".join(example for example, _ in self.tab.filters))

    def _narrow(self, text: str) -> None:
        if not self.tab.narrow(text):
            self.say("nothing to filter here", "warning")
        else:
            self.say(f"only rows with {text!r}; & and Enter shows all" if text else "all rows")
        self.update_lines()
