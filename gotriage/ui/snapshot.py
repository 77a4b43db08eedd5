"""Writing what is known into a file that opens again on the same screens."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.host import clock, privilege

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.ui.front import Front


def file_name(front: Front) -> str:
    """gotriage-NAME-DATE-TIME.gts.jsonl.zst, with nothing odd in it."""
    name = front.target.name if front.target is not None else "session"
    plain = re.sub(r"[^A-Za-z0-9_.@-]+", "_", name).strip("._-")[:60] or "session"
    moment = (front.session.moment or clock.now()).astimezone()
    return f"gotriage-{plain.removesuffix('.service')}-{moment:%Y%m%d-%H%M%S}.gts.jsonl.zst"


def places() -> Iterator[Path]:
    """Where a snapshot may go: here, at the user's home (behind sudo HOME is root's), or among temporary files."""
    with suppress(OSError):  # the working directory may have been removed
        yield Path.cwd()
    yield Path(privilege.invoker().home)
    yield Path(os.environ.get("TMPDIR", "/tmp"))  # the name is new, and the file is opened with O_EXCL


def write(front: Front) -> tuple[str, str]:
    """Write it to the first place that takes it; returns a line to say and its role. Raises nothing."""
    from gotriage.session.recording import save

    name, problem = file_name(front), "no place to write to"
    for place in places():
        try:
            path = place / name
            save(front.session, path)
        except (OSError, GotriageError) as error:
            problem = f"{place}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            continue
        return f"wrote {path}", "good"
    return f"no snapshot: {problem}", "critical"
