"""A profile written into a file of another tool's format, where a snapshot would go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gotriage.render import profile_export
from gotriage.ui.snapshot import file_name, places

if TYPE_CHECKING:
    from gotriage.records.profile import Profile
    from gotriage.ui.front import Front

SNAPSHOT = ".gts.jsonl.zst"


def write(front: Front, profile: Profile, form: str) -> tuple[str, str]:
    """Write it to the first place that takes it; returns a line to say and its role. Raises nothing."""
    name = f"{file_name(front).removesuffix(SNAPSHOT)}.{profile_export.SUFFIXES[form]}"
    data, problem = profile_export.export(profile, form), "no place to write to"
    for place in places():
        try:
            fd = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            problem = f"{place}: {error.strerror or error}"
            continue
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
        except OSError as error:
            problem = f"{place}: {error.strerror or error}"
            continue
        return f"wrote {place / name}", "good"
    return f"no {form} file: {problem}", "critical"
