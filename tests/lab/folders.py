"""Folders of a test that other users may enter: pytest makes its own for one user."""

from __future__ import annotations

import tempfile
from pathlib import Path


def let_enter(folder: Path) -> Path:
    """Anybody may read and enter the folder, and get there; the folder again."""
    end = Path(tempfile.gettempdir())
    for one in (folder, *folder.parents):
        if one in (end, *end.parents):
            break
        one.chmod(0o755)
    return folder
