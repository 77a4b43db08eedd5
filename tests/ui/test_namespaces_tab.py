"""The namespaces on the screen."""

from __future__ import annotations

import pytest
from gotriage.records.namespaces import IdRange, Namespace, Namespaces
from gotriage.render.namespaces import lines as text_lines
from gotriage.session.store import Session

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, shown

ROWS = (
    Namespace(type="mnt", inode=7, host=False, gotriage=False, others=0, owner=11),
    Namespace(type="net", inode=4026532179, host=False, gotriage=False, others=1, shared_with=("pause (12)",), owner=9),
    Namespace(type="uts", inode=4, host=True, gotriage=True, others=412),
    Namespace(type="net", of="threads", inode=5, host=True, gotriage=True, members=3, others=412),
)


def session(**fields):
    known = Session()
    for record in made.beginning():
        known.feed(record)
    given = {
        "rows": ROWS, "pid": 41207, "inner_pid": 1, "uid": 100000, "seccomp": 2, "seccomp_filters": 2,
        "no_new_privs": True, "port_start": 1024, "ping_groups": (1, 0), "effective": ("CAP_CHOWN",),
        "uid_map": (IdRange(0, 100000, 65536),),
    }  # fmt: skip
    known.feed(Namespaces(at=made.START, **(given | fields)))
    return known


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_it_shows_whose_they_are_and_who_shares_them(size):
    seen = shown(made.front(session()), "I", size=size)
    for words in ("2 of 3 are its own: mnt, net", "threads of it are in others: net", "pause (12)", "41207, 1 inside",
                  "0-65535 are 100000-165535 outside"):  # fmt: skip
        assert words in seen, seen
    assert ("4026532179" in seen) == (size == LARGE)


def test_rights_are_said_and_what_they_are_for():
    seen = shown(made.front(session()), "I", size=LARGE)
    for words in ("filter, 2 filters", "gain nothing by set-user-ID", "may listen from 1024 on", "NET_RAW",
                  "raw sockets", "nobody without CAP_NET_RAW"):  # fmt: skip
        assert words in seen, seen


def test_a_row_opens_with_all_that_is_known():
    seen = shown(made.front(session()), "I", "j", "enter")
    for words in ("4026532179", "pause (12)", "main process"):
        assert words in seen, seen


def test_as_text_it_fits_the_width():
    lines = list(text_lines(session(), 80))
    assert max(map(len, lines)) <= 80
    assert any("0-65535 are" in line for line in lines)
    assert len(list(text_lines(session(), None))) < len(lines)
    assert list(text_lines(Session(), 80)) == []


def test_what_could_not_be_read_is_said_to_be_unknown():
    rows = (Namespace(type="net", inode=1, gotriage=True, others=3),)
    seen = shown(made.front(session(rows=rows)), "I")
    assert "the host's own could not be read" in seen
    assert "net     main process  –" in seen
