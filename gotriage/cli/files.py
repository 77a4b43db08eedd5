"""Files that commands write."""

from __future__ import annotations

import os
import sys

from gotriage.errors import NotWritten, UsageError


def write_new(data: bytes, output: str | None) -> None:
    """To a new file, for the user alone; or to standard output. Raises UsageError where there is one, NotWritten."""
    if output in (None, "-"):
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    assert output is not None
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{output} exists; nothing is overwritten") from None
    except OSError as error:
        raise NotWritten(f"{output}: {error.strerror}") from None
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise NotWritten(f"{output}: {error.strerror}") from None
    finally:
        os.close(fd)
    print(f"gotriage: wrote {output}: {len(data):,} bytes", file=sys.stderr)
