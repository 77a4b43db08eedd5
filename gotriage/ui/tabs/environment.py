"""What the process was given: build, identity, arguments, environment, streams; what it may not use comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.environment import Access, Environment
from gotriage.render.cells import words
from gotriage.render.text import wrap
from gotriage.ui.detail import beside, section
from gotriage.ui.page_tab import PageTab
from gotriage.ui.spans import PageLine, labelled
from gotriage.ui.state import note, nothing_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gotriage.ui.tab import Hint

WIDE = 150
LABEL = 18
Pairs = list[tuple[str, str]]
SECCOMP = {0: "off", 1: "strict", 2: "filter"}
VCS = ("vcs", "vcs.revision", "vcs.time", "vcs.modified")


class EnvironmentTab(PageTab):
    """One page of sections; beside each other where there is room."""

    every: ClassVar[float] = 2.0
    hints: ClassVar[Sequence[Hint]] = (("y", "copy"),)

    def lines(self, width: int) -> Sequence[PageLine]:
        """The whole page; why there is none."""
        given, access = self.front.session.latest(Environment), self.front.session.latest(Access)
        if given is None:
            return nothing_page(self.front, self.view, width)
        lines = page(given, access, width)
        lacks = note(self.front, self.view.sources, width)
        return [PageLine(lacks), PageLine(), *lines] if lacks else lines

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """The selected entry alone, to be read and copied."""
        item, text = self.page.item, self.page.item_text
        if not isinstance(item, tuple):
            return None
        return str(item[-1]), lambda width: [PageLine(((line, ""),)) for line in wrap(text.strip(), width)]


def page(given: Environment, access: Access | None, width: int) -> list[PageLine]:
    """All sections; two columns of them on a wide terminal."""
    problems = list(_problems(access, width))
    left_width = width if width < WIDE else (width - 3) // 2
    left = [*_some("Build", _build(given), left_width), *_some("Process", _process(given), left_width)]
    left += _some("Standard streams", [(str(s.fd), s.goes_to) for s in given.streams], left_width)
    left += _some("Namespaces", _namespaces(given), left_width)
    masked = (
        f"Environment ({len(given.env)}, {given.masked} masked)" if given.masked else f"Environment ({len(given.env)})"
    )
    right = [*_some("Arguments", [(str(n), text) for n, text in enumerate(given.argv)], left_width)]
    right += _some(masked, sorted(given.env.items()), left_width)
    right += _some(f"Modules ({len(given.modules)})", _modules(given), left_width, column=44)
    right += _some("Build settings", [(k, v) for k, v in given.settings.items() if k not in VCS], left_width)
    if width < WIDE:
        return [*problems, *right[: _end_of_first(right)], *left, *right[_end_of_first(right) :]]
    return [*problems, *beside(left, right, left_width)]


def _end_of_first(lines: Sequence[PageLine]) -> int:
    """Where the first section ends: the arguments come first on a narrow page."""
    return next((number + 1 for number, line in enumerate(lines) if not line.spans), len(lines))


def _some(title: str, pairs: Sequence[tuple[str, str]], width: int, *, column: int = LABEL) -> list[PageLine]:
    return list(section(title, pairs, width, column=column)) if any(value for _, value in pairs) else []


def _problems(access: Access | None, width: int) -> Iterator[PageLine]:
    """Paths that it was given and may not use."""
    if access is None:
        return
    if not access.problems:
        yield PageLine((("✓ ", "good"), (f"its user may use every path that it was given ({access.checked})", "dim")))
        yield PageLine()
        return
    yield PageLine(((f"▲ {len(access.problems)} of {access.checked} paths it was given it may not use", "warning"),))
    for problem in access.problems:
        where = f"  ({problem.source})" if problem.source else ""
        text = f"{problem.path}  {problem.reason}{where}"
        for spans in labelled(f"needs {problem.needs}", text, width, indent=2, column=LABEL):
            yield PageLine(spans, ("path", problem.path))
    yield PageLine()


def _build(given: Environment) -> Pairs:
    exe = given.exe + (" (deleted)" if given.exe_deleted else "")
    if given.exe_replaced:
        exe += "\nanother file stands at this path now: the process runs the old one"
    pairs = [("executable", exe), ("format", f"ELF{given.elf_class or ''} {given.elf_machine}".strip())]
    if given.is_go is False:
        return [*pairs, ("language", "not Go")]
    revision = given.settings.get("vcs.revision", "")
    changed = ", from changed files" if given.settings.get("vcs.modified") == "true" else ""
    time = f", {given.settings['vcs.time']}" if "vcs.time" in given.settings else ""
    return [
        *pairs,
        ("Go", given.go_version),
        ("main package", given.main_package),
        ("module", f"{given.module} {given.main_version}".strip()),
        ("revision", f"{revision}{changed}{time}"),
    ]


def _process(given: Environment) -> Pairs:
    return [
        ("user", _who(given.user, given.uid_inside, given.uid)),
        ("group", _who("", given.gid_inside, given.gid)),
        ("groups", words(given.groups) if given.groups else ""),
        ("capabilities", ", ".join(given.capabilities) or ("none" if given.uid else "")),
        ("no_new_privs", words(given.no_new_privs) if given.no_new_privs is not None else ""),
        ("seccomp", SECCOMP.get(given.seccomp, "") if given.seccomp is not None else ""),
        ("umask", given.umask),
        ("working directory", given.cwd),
        ("root", given.root),
        ("cgroup", given.cgroup),
        ("security label", given.security_label),
    ]


def _who(name: str, inside: int | None, ids: tuple[int, ...]) -> str:
    """A name and its numbers; in a user namespace of its own, what it is there and what it is here."""
    if inside is None:
        return f"{name} ({_ids(ids)})" if name and ids and name != _ids(ids) else name or _ids(ids)
    there = f"{name} ({inside})" if name and name != str(inside) else str(inside)
    return f"{there} in its user namespace, {_ids(ids)} here"


def _ids(ids: tuple[int, ...]) -> str:
    """Real, effective, saved and filesystem ids; one number when they are all the same."""
    return str(ids[0]) if len(set(ids)) == 1 else " ".join(str(number) for number in ids)


def _namespaces(given: Environment) -> Pairs:
    return [
        (name, inode + ("  the machine's" if given.host_namespaces.get(name) == inode else "  its own"))
        for name, inode in sorted(given.namespaces.items())
    ]


def _modules(given: Environment) -> Pairs:
    return [
        (module.path, module.version + (f" → {module.replaced_by}" if module.replaced_by else ""))
        for module in given.modules
    ]
