"""Rules as `nft -j list ruleset` prints them (libnftables-json(5)); tested with the output of nft 1.0.6."""

from __future__ import annotations

from typing import Any, Final

from gotriage.host.firewall.model import Chain, Match, Rule, Ruleset, Value, address_range
from gotriage.records.text import clean

MOST_RULES: Final = 20_000
MOST_VALUES: Final = 4096
"""Elements of one set that are looked at."""
PLAIN: Final = ("accept", "drop", "return", "queue", "continue")
NAT: Final = ("dnat", "snat", "masquerade", "redirect", "tproxy")
CONDITIONS: Final = ("limit", "meter", "quota", "ct count", "xt", "socket")
"""Statements that may end a rule before its verdict, beside `match`."""
_OPERATORS: Final = {"==": "", "in": "", "!=": "!= "}

Sets = dict[tuple[str, str], list[Any]]
"""(table, name) to the elements of a named set or map."""


def parse(data: object, into: Ruleset) -> set[str]:
    """Add all tables; the families whose rules are iptables-nft's own, which only iptables-save tells whole."""
    items = data.get("nftables") if isinstance(data, dict) else None
    entries = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    sets: Sets = {}
    for item in entries:
        for kind in ("set", "map"):
            if isinstance(found := item.get(kind), dict):
                elements = found.get("elem")
                sets[_table(found), str(found.get("name"))] = elements if isinstance(elements, list) else []
        if isinstance(found := item.get("chain"), dict):
            chain = _chain(found)
            into.chains[chain.kind, chain.table, chain.name] = chain
    foreign: set[str] = set()
    for number, item in enumerate(item["rule"] for item in entries if isinstance(item.get("rule"), dict)):
        if number >= MOST_RULES:
            into.more += 1
            continue
        expressions = item.get("expr")
        expressions = expressions if isinstance(expressions, list) else []
        if any(isinstance(one, dict) and "xt" in one for one in expressions):
            foreign.add(str(item.get("family")))
        chain_of = into.chains.get(("nftables", _table(item), clean(str(item.get("chain")), 128)))
        if chain_of is not None:
            chain_of.rules += _rules(item, expressions, sets, number)
    return foreign


def _table(item: dict[str, Any]) -> str:
    name = item.get("table", item.get("name"))
    return f"{clean(str(item.get('family')), 16)} {clean(str(name), 128)}"


def _chain(item: dict[str, Any]) -> Chain:
    priority = item.get("prio", 0)
    return Chain(
        "nftables",
        _table(item),
        clean(str(item.get("name")), 128),
        hook=str(item.get("hook", "")),
        priority=priority if isinstance(priority, int) else 0,
        policy=str(item.get("policy", "")),
        nat=item.get("type") == "nat",
    )


class _Reading:
    """The statements of one rule, from the left."""

    def __init__(self, table: str, sets: Sets) -> None:
        self._table, self._sets = table, sets
        self.matches: list[Match] = []
        self.words: list[str] = []
        self.packets: int | None = None
        self.verdict = self.target = ""
        self.branches: list[tuple[Match, str, str]] = []

    def statement(self, name: str, body: object) -> None:
        if name == "match" and isinstance(body, dict):
            self._match(body)
        elif name == "counter":
            number = body.get("packets") if isinstance(body, dict) else None
            self.packets = number if isinstance(number, int) else None
        elif name == "vmap" and isinstance(body, dict):
            self._map(body)
        elif name in CONDITIONS and not (name == "xt" and _xt_target(body)):
            self.matches.append(Match(""))
            self.words.append(f"{name} {body.get('name', '')}".strip() if isinstance(body, dict) else name)
        elif name == "xt" and isinstance(body, dict):
            self._verdict(body.get("name", "").lower(), None)
        elif name != "continue":
            self._verdict(name, body)

    def _verdict(self, name: str, body: object) -> None:
        verdict, target = verdict_of({name: body})
        if verdict:
            self.verdict, self.target = verdict, target
        self.words.append(f"{name} {target}".strip())

    def _match(self, body: dict[str, Any]) -> None:
        left, right = field_of(body.get("left")), body.get("right")
        operator = str(body.get("op", "=="))
        values = self._values(right)
        shown = _shown(right)
        self.words.append(f"{left or _left_shown(body.get('left'))} {_OPERATORS.get(operator, operator + ' ')}{shown}")
        if left == "tcp flags":
            self.matches.append(_flags(body.get("left"), right, negated=operator == "!="))
        elif operator not in _OPERATORS:
            self.matches.append(_compared(left, operator, values))
        else:
            self.matches.append(Match(left, values, operator == "!=") if left and values is not None else Match(""))

    def _values(self, right: object) -> tuple[Value, ...] | None:
        """The values of the right side; None when not all of them are understood."""
        if isinstance(right, str) and right.startswith("@"):
            items: list[Any] = self._sets.get((self._table, right[1:]), [])
            if (self._table, right[1:]) not in self._sets:
                return None
        elif isinstance(right, dict) and isinstance(right.get("set"), list):
            items = right["set"]
        else:
            items = right if isinstance(right, list) else [right]
        if len(items) > MOST_VALUES:
            return None
        found = [value_of(item) for item in items]
        return None if None in found else tuple(value for value in found if value is not None)

    def _map(self, body: dict[str, Any]) -> None:
        """A verdict map: one branch an element."""
        left, data = field_of(body.get("key")), body.get("data")
        if isinstance(data, str):
            pairs: Any = self._sets.get((self._table, data.lstrip("@")), [])
        else:
            pairs = data.get("set", []) if isinstance(data, dict) else []
        self.words.append(f"{left or 'a condition'} vmap")
        for pair in pairs[:MOST_VALUES] if isinstance(pairs, list) else []:
            if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)):
                continue
            value, (verdict, target) = value_of(pair[0]), verdict_of(pair[1])
            self.branches.append((Match(left, (value,)) if left and value is not None else Match(""), verdict, target))


def _rules(item: dict[str, Any], expressions: list[Any], sets: Sets, number: int) -> list[Rule]:
    reading = _Reading(_table(item), sets)
    for expression in expressions[:200]:
        for name, body in expression.items() if isinstance(expression, dict) else ():
            reading.statement(str(name), body)
    comment = f' comment "{item["comment"]}"' if isinstance(item.get("comment"), str) else ""
    text = clean(" ".join(reading.words) + comment, 400)
    place = ("nftables", _table(item), clean(str(item.get("chain")), 128))
    made = [
        Rule(*place, f"{text} {verdict} {target}".strip(), (*reading.matches, match), verdict, target, reading.packets)
        for match, verdict, target in reading.branches
    ]
    if not made:
        matches = tuple(reading.matches)
        made = [Rule(*place, text, matches, reading.verdict, reading.target, reading.packets, number)]
    return made


def verdict_of(statement: dict[str, Any]) -> tuple[str, str]:
    """The verdict of a statement and the chain that it goes to; ("", "") for one that only does something."""
    for name, body in statement.items():
        if name in ("jump", "goto") and isinstance(body, dict):
            return name, clean(str(body.get("target")), 128)
        if name in NAT:
            return "accept", ""
        if name in PLAIN or name == "reject":
            return ("" if name == "continue" else name), ""
    return "", ""


def _xt_target(body: object) -> bool:
    return isinstance(body, dict) and body.get("type") == "target"


def field_of(left: object) -> str:
    """The left side as nft(8) writes it: "tcp dport", "meta iifname", "ct state"; "" when it is not understood."""
    if not isinstance(left, dict):
        return ""
    if isinstance(inner := left.get("payload"), dict) and "protocol" in inner:
        return f"{inner['protocol']} {inner.get('field')}"
    for kind in ("meta", "ct"):
        if isinstance(inner := left.get(kind), dict):
            return f"{kind} {inner.get('key')}"
    mask = left.get("&")
    if isinstance(mask, list) and mask and field_of(mask[0]) == "tcp flags":
        return "tcp flags"
    return ""


def value_of(item: object) -> Value | None:
    """One value of the right side: a range of numbers or addresses, or a name."""
    if isinstance(item, bool):
        return None
    if isinstance(item, int):
        return item, item
    if isinstance(item, str):
        found = address_range(item) if ":" in item or "." in item else None
        return found if found is not None else clean(item, 64)
    if not isinstance(item, dict):
        return None
    if isinstance(inner := item.get("prefix"), dict):
        return address_range(f"{inner.get('addr')}/{inner.get('len')}")
    if isinstance(inner := item.get("range"), list) and len(inner) == 2:
        low, high = value_of(inner[0]), value_of(inner[1])
        return (low[0], high[1]) if isinstance(low, tuple) and isinstance(high, tuple) else None
    if isinstance(inner := item.get("elem"), dict):
        return value_of(inner.get("val"))
    return None


def _compared(left: str, operator: str, values: tuple[Value, ...] | None) -> Match:
    """ "tcp dport >= 1024" as a range."""
    if not left or values is None or len(values) != 1 or not isinstance(values[0], tuple):
        return Match("")
    number, most = values[0][0], 1 << 128
    ranges = {"<": (0, number - 1), "<=": (0, number), ">": (number + 1, most), ">=": (number, most)}
    return Match(left, (ranges[operator],)) if operator in ranges else Match("")


def _flags(left: object, right: object, *, negated: bool) -> Match:
    """Flags of a TCP packet against the first one of a connection, which has SYN alone: new, or established."""
    mask = left.get("&") if isinstance(left, dict) else None
    asked = {str(one) for one in _several(mask[1])} if isinstance(mask, list) and len(mask) == 2 else None
    wanted = {str(one) for one in _several(right)}
    if asked is None or "syn" not in asked | wanted:
        return Match("")
    first = ({"syn"} & asked) == wanted
    return Match("ct state", ("new",), negated) if first else Match("ct state", ("new",), not negated)


def _several(item: object) -> list[Any]:
    if isinstance(item, dict) and isinstance(item.get("|"), list):
        return [part for one in item["|"] for part in _several(one)]
    return item if isinstance(item, list) else [item]


def _left_shown(left: object) -> str:
    """What is not understood, as far as it can be named."""
    if isinstance(left, dict) and isinstance(fib := left.get("fib"), dict):
        flags = fib.get("flags")
        names = flags if isinstance(flags, list) else [flags]
        return f"fib {' . '.join(str(one) for one in names[:8])} {fib.get('result')}"
    return "a condition"


def _shown(right: object) -> str:
    """The right side in short."""
    if isinstance(right, dict):
        if isinstance(inner := right.get("set"), list):
            return "{ " + ", ".join(_shown(one) for one in inner[:8]) + (", …" if len(inner) > 8 else "") + " }"
        if isinstance(inner := right.get("prefix"), dict):
            return f"{inner.get('addr')}/{inner.get('len')}"
        if isinstance(inner := right.get("range"), list):
            return "-".join(str(one) for one in inner[:2])
        if isinstance(inner := right.get("elem"), dict):
            return _shown(inner.get("val"))
    if isinstance(right, list):
        return ",".join(_shown(one) for one in right[:8])
    if isinstance(right, bool):
        return "exists" if right else "missing"
    return str(right)[:100]
