"""Paths as routes: what looks like an identifier is replaced, so that calls of the same handler count together.

The program in the kernel tells paths apart by the same rules, segment by segment (probes/http.bpf.c, end_segment).
"""

from __future__ import annotations

import re

_HEX = re.compile(r"(?=[^0-9]*[0-9])(?=[^a-fA-F]*[a-fA-F])[0-9a-fA-F-]{8,}")
_LONG = re.compile(r"(?=[^0-9]*[0-9]).{20,}", re.DOTALL)
_WORD_OR_NUMBER = re.compile(r"[A-Za-z][A-Za-z0-9]*|[0-9]+")


def route_of(path: str) -> str:
    """The route of a path without its query.

    "/users/123/posts" -> "/users/{n}/posts", "/blobs/9f86d081884c7d65" -> "/blobs/{hex}"; long ones with a digit become
    "{id}"; "/v2/x" stays.
    """
    return "/".join(_segment(part) for part in path.split("/"))


def _segment(part: str) -> str:
    if _HEX.fullmatch(part):
        return "{hex}"
    if _LONG.fullmatch(part):
        return "{id}"
    return _WORD_OR_NUMBER.sub(lambda match: match[0] if match[0][0].isalpha() else "{n}", part)
