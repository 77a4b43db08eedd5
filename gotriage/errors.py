"""One family of errors; each is one clear line for the user and knows the exit status it ends the program with.

    GotriageError                 the base; never raised itself
    ├── UsageError                64  wrong flags, a missing or contradictory target
    ├── TargetError               3   the target could not be inspected at all
    │   ├── NoSuchTarget              no such PID, unit or container (near matches in the text)
    │   ├── AmbiguousTarget           a prefix that fits several
    │   └── TargetGone                it exited while we looked
    ├── BadRecording              3   not a recording, or one that holds nothing readable
    ├── NotWritten                3   a file could not be written: no space, read-only, a failing disk
    ├── MissingFacility           69  a needed tool or kernel feature is missing
    └── NotPermitted              77  the kernel said no; the text says what would allow it

The exit statuses follow sysexits.h where it has one (EX_USAGE 64, EX_UNAVAILABLE 69, EX_NOPERM 77).
"""

from __future__ import annotations

import os

EXIT_OK = 0
EXIT_WARNINGS = 1
EXIT_CRITICAL = 2
EXIT_NOT_INSPECTED = 3
EXIT_USAGE = 64
EXIT_MISSING = 69
EXIT_NOT_PERMITTED = 77

AS_ROOT = "run gotriage as root (sudo)"
"""The remedy for what only root may; a text that ends in it has it behind a semicolon."""


def reason_of(error: BaseException) -> str:
    """What went wrong, without the remedy behind it; an OSError as "file: reason", without Python's number."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error)
    return text.removesuffix(f"; {AS_ROOT}")


class GotriageError(Exception):
    """The base of all errors that a user may see: `str(error)` is the line, `exit_code` the status."""

    exit_code = EXIT_NOT_INSPECTED


class UsageError(GotriageError):
    """The command line makes no sense; the text says what would."""

    exit_code = EXIT_USAGE


class TargetError(GotriageError):
    """The target could not be inspected at all."""


class NoSuchTarget(TargetError):
    """Nothing has that PID, unit name or container reference; near matches are in the text."""


class AmbiguousTarget(TargetError):
    """A prefix or name that fits more than one; the text lists them."""


class TargetGone(TargetError):
    """The target ended while it was looked at."""


class BadRecording(GotriageError):
    """The file is no recording, or holds no readable record."""


class NotWritten(GotriageError):
    """A recording or snapshot could not be written; the text says what stays readable."""


class MissingFacility(GotriageError):
    """A tool or a kernel feature that is needed is not here; the text says how to get it."""

    exit_code = EXIT_MISSING


class NotPermitted(GotriageError):
    """The kernel or a service refused; the text says what would permit it."""

    exit_code = EXIT_NOT_PERMITTED
