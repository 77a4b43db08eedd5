"""Where a command's session comes from: an agent that is started for it, or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.cli.gather import CORE_PATIENCE, attach_core, gather
from gotriage.cli.parser import needed_target, target_of
from gotriage.errors import BadRecording, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection

    from gotriage.session.link import Link
    from gotriage.session.store import Session


def with_session(
    arguments: argparse.Namespace,
    use: Callable[[Session], int],
    sources: Collection[str] | None = None,
    *,
    rates: bool = True,
    more: Callable[[Session, Link], None] | None = None,
    look: Callable[[Link], Session] | None = None,
) -> int:
    """Run `use` on the session: of the file of `--from`, else of the target's agent, in the unprivileged front.

    `more` may ask the agent for more before that; `look` takes the place of looking for a while.
    `use` runs in another process than the caller when an agent is started; its return value is the exit status.
    """
    file = getattr(arguments, "source", None)
    if file is not None:
        if target_of(arguments).kind != "none":
            raise UsageError("--from FILE and a target exclude each other")
        if arguments.seconds is not None:
            raise UsageError("--from FILE and --for exclude each other")
        return use(from_file(file))

    spec = needed_target(arguments)
    from gotriage.agent.launcher import launch

    def front(link: Link) -> int:
        if look is not None:
            session = look(link)
        elif spec.kind == "core":
            attach_core(link, spec.value)
            session = gather(link, arguments.seconds, sources, rates=False, patience=CORE_PATIENCE)
        else:
            session = gather(link, arguments.seconds, sources, rates=rates)
        if more is not None:
            more(session, link)
        return use(session)

    return launch(spec, front, sources=sources)


def from_file(path: str) -> Session:
    """The session in a snapshot or recording; says on standard error when the file is cut or damaged.

    Root's rights are given away once the file is open: what is in it may come from anyone.
    """
    from gotriage.cli.main import complain
    from gotriage.host import citizen, privilege
    from gotriage.session.recording import load, open_file

    fd = open_file(path)
    citizen.die_first(citizen.FRONT_SCORE)
    privilege.drop_to(privilege.invoker())
    try:
        session, report = load(fd, path)
    except OSError as error:
        raise BadRecording(f"{path}: {error.strerror}") from None
    for remark in report.remarks:
        complain(f"{path}: {remark}")
    return session
