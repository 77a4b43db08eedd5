"""gotriage itself once more at the terminal, as root where we were started through sudo: by sudo, which asks again.

The one who asks for it may be a front that has given root away, so root is not simply handed back: the user is, who may
then become root by sudo's own rules and with the password (`-k`: a password typed before does not count).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from gotriage.errors import MissingFacility
from gotriage.host import privilege, tools

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_STARTED: Final = 126
KEPT: Final = ("TERM", "COLORTERM", "LANG", "LC_ALL")
DEFAULTS: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE)


def command(words: Sequence[str], user: privilege.Invoker) -> list[str]:
    """What is run, by absolute path. Raises MissingFacility when sudo would be needed and is not here."""
    own = [sys.executable, "-I", "-m", "gotriage", *words]
    if os.geteuid() != 0 or user.uid == 0:
        return own
    sudo = tools.find("sudo")
    if sudo is None:
        raise MissingFacility(f"sudo is not installed; as root: gotriage {' '.join(words)}")
    return [sudo, "-k", "--", *own]


def start(words: Sequence[str]) -> int:
    """Start `gotriage WORDS` with our standard streams; its PID. Raises MissingFacility, OSError."""
    user = privilege.invoker()
    given = command(words, user)
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {"PATH": tools.ENVIRONMENT["PATH"], "HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for number in DEFAULTS:
            signal.signal(number, signal.SIG_DFL)
        privilege.die_with_parent(signal.SIGTERM)
        if given[0] != sys.executable:
            privilege.become(user)
        os.execve(given[0], given, environment)
    except BaseException as error:  # whatever it is, this process must not go on as a copy of the other
        os.write(2, f"gotriage: {given[0]}: {type(error).__name__}\n".encode())
    finally:
        os._exit(NOT_STARTED)
