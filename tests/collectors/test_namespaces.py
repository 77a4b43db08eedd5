"""What /proc tells of namespaces, maps and rights, as text."""

from __future__ import annotations

import pytest
from gotriage.collectors.namespaces import parse_link, parse_map, parse_rights
from gotriage.records.namespaces import IdRange
from gotriage.render.namespaces import id_map, names


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("net:[4026531840]", ("net", 4026531840)),
        ("pid:[1]", ("pid", 1)),
        ("net:[]", None),
        ("/some/path", None),
        ("net:[-1]", None),
        ("net:[²]", None),
    ],
)
def test_a_link_is_type_and_inode(text, key):
    assert parse_link(text) == key


def test_a_map_is_ranges_and_other_lines_are_none():
    text = "         0       1000          1\n         1     100000      65536\nx y z\n1 2\n"
    assert parse_map(text) == (IdRange(0, 1000, 1), IdRange(1, 100000, 65536))
    assert parse_map("") == ()
    assert len(parse_map("0 0 1\n" * 1000)) == 340


def test_maps_read_as_words():
    assert id_map([IdRange(0, 0, 4294967295)]) == "every id is itself"
    assert id_map([IdRange(0, 1000, 1), IdRange(1, 100000, 65536)]).splitlines() == [
        "0 is 1000 outside",
        "1-65536 are 100000-165535 outside",
    ]
    assert id_map([IdRange(n, n, 1) for n in range(20)]).splitlines()[-1] == "and 12 more"


def test_rights_of_a_status():
    status = {
        "CapEff": "0000000000000400", "CapPrm": "0000000000002400", "CapInh": "0", "CapBnd": "000001ffffffffff",
        "CapAmb": "0000000000000400", "Seccomp": "2", "Seccomp_filters": "3", "NoNewPrivs": "1",
        "Uid": "1 2 3 4", "NSpid": "4242\t17\t1",
    }  # fmt: skip
    found = parse_rights(status)
    assert found["effective"] == found["ambient"] == ("CAP_NET_BIND_SERVICE",)
    assert found["permitted"] == ("CAP_NET_BIND_SERVICE", "CAP_NET_RAW")
    assert (found["seccomp"], found["seccomp_filters"], found["no_new_privs"]) == (2, 3, True)
    assert (found["uid"], found["inner_pid"]) == (2, 1)
    assert names(found["bounding"]) == "all"
    assert names(found["bounding"][1:]) == "all but CHOWN"
    assert names(()) == "none"


def test_an_old_kernel_tells_less():
    found = parse_rights({"CapEff": "0", "Uid": ""})
    assert found["effective"] == ()
    assert all(found[name] is None for name in ("seccomp", "seccomp_filters", "no_new_privs", "uid", "inner_pid"))
