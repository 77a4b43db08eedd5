"""Names of hosts that a process was given in its arguments and variables: what is worth looking up."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from gotriage.host.dnswire import valid_name
from gotriage.records import secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST: Final = 12
LONGEST: Final = 4096
"""Characters of a word that are looked at."""
_NAME: Final = r"(?P<{}>[A-Za-z][A-Za-z0-9_.-]{{0,253}})"
_URL: Final = re.compile(
    r"[a-z][a-z0-9+.-]{1,20}://(?:[^/@\s]{0,300}@)?" + _NAME.format("url") + r"(?::\d{1,5})?(?=[/?#,\s]|$)"
)
_PAIR: Final = re.compile(r"(?:^|[=,@(\s])" + _NAME.format("pair") + r":\d{1,5}(?=[/,)\s]|$)")
_DSN: Final = re.compile(r"(?:^|[\s;])host=" + _NAME.format("dsn"), re.IGNORECASE)
_NOT_HOSTS: Final = frozenset({"localhost", "localhost.localdomain", "unix", "stdout", "stderr", "file"})


def given_names(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """At most `MOST` names, in order of appearance; values of secret variables are looked at for URLs only."""
    found: dict[str, None] = {}
    for word in argv[1:]:
        found.update(dict.fromkeys(_in(word, only_urls=False)))
    for name, value in env.items():
        if name not in ("GODEBUG", "JOURNAL_STREAM", "LS_COLORS", "PATH"):
            found.update(dict.fromkeys(_in(value, only_urls=secrets.is_secret_name(name))))
    return list(found)[:MOST]


def _in(text: str, *, only_urls: bool) -> Iterator[str]:
    text = text[:LONGEST]
    for pattern in (_URL,) if only_urls else (_URL, _PAIR, _DSN):
        for match in pattern.finditer(text):
            name = (match[1] or "").rstrip(".").lower()
            if name not in _NOT_HOSTS and valid_name(name) and not _is_address(name):
                yield name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
