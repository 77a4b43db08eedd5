"""Names and numbers of the Go runtime from its source text: what DWARF does not have, or has only in part.

A file is asked for by its path below GOROOT/src; where a version keeps something elsewhere, the first file that has it
counts, and is named as the source.
"""

from __future__ import annotations

import ast
import contextlib
import operator
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Reader = Callable[[str], str]
    """Text of the file at a path below src, "" where there is none."""

RUNTIME2: Final = "runtime/runtime2.go"
SYMTABS: Final = ("internal/abi/symtab.go", "runtime/symtab.go")
FUNCDATA: Final = ("internal/abi/symtab.go", "internal/abi/funcdata.go", "runtime/symtab.go")
SIZES: Final = ("internal/runtime/gc/sizeclasses.go", "runtime/sizeclasses.go")

_OPERATORS: Final[dict[type, Callable[[int, int], int]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.LShift: operator.lshift, ast.BitOr: operator.or_,
    ast.Mult: operator.mul,
}  # fmt: skip


def constants(text: str, pattern: str) -> dict[str, int]:
    """The integer constants of a Go file whose names match: const blocks with iota, shifts and sums of earlier ones."""
    known: dict[str, int] = {}
    for block in re.findall(r"^const \((.*?)^\)", text, re.M | re.S):
        _block(block, known)
    return {name: value for name, value in known.items() if re.fullmatch(pattern, name)}


def _block(block: str, known: dict[str, int]) -> None:
    last = ""
    for iota, line in enumerate(_lines(block)):
        match = re.fullmatch(r"(\w+)(?:\s+[\w.]+)?\s*=\s*(.+)", line)
        name, last = (match[1], match[2]) if match else (line.split()[0], last)
        with contextlib.suppress(SyntaxError, KeyError, ValueError):  # one that is not understood is not there
            known[name] = _value(ast.parse(last, mode="eval").body, known | {"iota": iota})


def _lines(block: str) -> Iterator[str]:
    for raw in block.splitlines():
        line = re.sub(r"//.*", "", raw).strip()
        if line and re.match(r"[A-Za-z_]\w*(\s|=|$)", line):
            yield line


def _value(node: ast.expr, known: dict[str, int]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, known)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, known), _value(node.right, known))
    raise ValueError("not a constant that is understood")


def _first(read: Reader, paths: tuple[str, ...], pattern: str) -> tuple[dict[str, int], str]:
    for path in paths:
        found = constants(read(path), pattern)
        if found:
            return found, path
    raise ValueError(f"no constants {pattern} in {paths}")


def _plain(name: str) -> str:
    """FuncID_goexit, funcID_goexit and FuncIDWrapper as goexit and wrapper."""
    short = re.sub(r"^[Ff]unc(ID|Flag)_?", "", name)
    return short if "_" in name else short[0].lower() + short[1:]


def wait_reasons(text: str) -> list[str]:
    """Go's words by number, from runtime2.go."""
    numbers = constants(text, "waitReason.*")
    table = re.search(r"^var waitReasonStrings = \[\.\.\.\]string\{(.*?)^\}", text, re.M | re.S)
    if not table:
        raise ValueError("no waitReasonStrings")
    words = [""] * len(numbers)
    for name, word in re.findall(r'^\s*(waitReason\w+):\s*"(.*?)",', table[1], re.M):
        words[numbers[name]] = word
    return words


def _array(text: str, names: str) -> list[int]:
    match = re.search(rf"^var (?:{names}) = \[[^\]]*\]\w+\{{([\d, ]+)\}}", text, re.M)
    if not match:
        raise ValueError(f"no array {names}")
    return [int(word) for word in match[1].split(",")]


def read_all(read: Reader) -> tuple[dict[str, Any], dict[str, str]]:
    """Everything that comes from source text, and the file of each."""
    runtime2 = read(RUNTIME2)
    func_ids, ids_in = _first(read, SYMTABS, "[Ff]uncID.+")
    flags, flags_in = _first(read, SYMTABS, "[Ff]uncFlag.+")
    pcdata, pcdata_in = _first(read, FUNCDATA, "_?PCDATA_.+")
    funcdata, _ = _first(read, FUNCDATA, "_?FUNCDATA_.+")
    sizes_in = next(path for path in SIZES if read(path))
    sizes = read(sizes_in)
    tables: dict[str, Any] = {
        "wait_reasons": wait_reasons(runtime2),
        "g_status": {name.removeprefix("_G"): value for name, value in constants(runtime2, "_G[a-z]+").items()
                     if "unused" not in name and not re.match("_Gscan.", name)},
        "p_status": {name.removeprefix("_P"): value for name, value in constants(runtime2, "_P[a-z]+").items()},
        "func_ids": {_plain(name): value for name, value in func_ids.items()},
        "func_flags": {_plain(name).upper(): value for name, value in flags.items()},
        "pcdata": {name.partition("PCDATA_")[2]: value for name, value in pcdata.items()},
        "funcdata": {name.partition("FUNCDATA_")[2]: value for name, value in funcdata.items()},
        "size_classes": _array(sizes, "class_to_size|SizeClassToSize"),
        "size_class_pages": _array(sizes, "class_to_allocnpages|SizeClassToNPages"),
    }  # fmt: skip
    sources = {name: f"src/{path}" for name, path in (
        ("wait_reasons", RUNTIME2), ("g_status", RUNTIME2), ("p_status", RUNTIME2), ("func_ids", ids_in),
        ("func_flags", flags_in), ("pcdata", pcdata_in), ("funcdata", pcdata_in), ("size_classes", sizes_in),
    )}  # fmt: skip
    return tables, sources
