"""Records of every type with every field filled, from a seeded generator."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta

import msgspec
from gotriage import __version__
from gotriage.records import AnyRecord
from gotriage.records.stream import End, Header, Reply
from gotriage.session.stream import encode

KINDS = AnyRecord.__args__
BASE = datetime(2026, 11, 23, 20, 0, 0, tzinfo=UTC)
TEXTS = ("", "orders-api", "a b", 'say "hi"', "back\\slash", "naïve ✓ 漢字", "two\nlines\tand a tab", "x" * 300, "🙂")


def value(info, rng: random.Random, depth: int = 0):
    """A value of a type that msgspec knows."""
    match info:
        case msgspec.inspect.NoneType():
            return None
        case msgspec.inspect.BoolType():
            return rng.random() < 0.5
        case msgspec.inspect.IntType():
            return rng.choice((0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, rng.randrange(10**6)))
        case msgspec.inspect.FloatType():
            return rng.choice((0.0, 1.5, 1e-9, 1e300, rng.random()))
        case msgspec.inspect.StrType():
            return rng.choice(TEXTS)
        case msgspec.inspect.DateTimeType():
            return BASE + timedelta(microseconds=rng.randrange(10**10))
        case msgspec.inspect.LiteralType():
            return rng.choice(info.values)
        case msgspec.inspect.UnionType():
            return value(rng.choice(info.types), rng, depth)
        case msgspec.inspect.VarTupleType():
            return tuple(value(info.item_type, rng, depth + 1) for _ in range(rng.randrange(4)))
        case msgspec.inspect.DictType():
            keys = [rng.choice(TEXTS[1:]) for _ in range(rng.randrange(4))]
            return {key: value(info.value_type, rng, depth + 1) for key in keys}
        case msgspec.inspect.StructType():
            return struct(info.cls, rng, depth + 1)
    raise AssertionError(info)


def struct(kind, rng: random.Random, depth: int = 0):
    """An instance with every field filled."""
    fields = msgspec.inspect.type_info(kind).fields
    return kind(**{field.name: value(field.type, rng, depth) for field in fields})


def records(count: int, seed: int = 1):
    """`count` records of all kinds in turn."""
    rng = random.Random(seed)
    return [struct(KINDS[number % len(KINDS)], rng) for number in range(count)]


def golden() -> None:
    """A file of the present version: every kind twice, a header first and an end last; kept for ever once released.

    `python -m tests.session.making >tests/session/golden/MAJOR.MINOR.gts.jsonl`
    """
    own = (Header, End, Reply)
    made = sorted((one for one in records(2 * len(KINDS), seed=12) if not isinstance(one, own)), key=lambda one: one.at)
    first = Header(at=BASE, version=__version__, host="web-1")
    last = [Reply(at=made[-1].at, id=1), End(at=made[-1].at, reason="its time is over")]
    for one in [first, *made, *last]:
        sys.stdout.buffer.write(encode(one))


if __name__ == "__main__":
    golden()
