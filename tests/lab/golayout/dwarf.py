"""Structs and constants of a Go program, from its DWARF (Go's additions to it: src/cmd/internal/dwarf/dwarf.go).

A struct becomes its leaves, by path: `sched.sp` of `g`. The types of sync/atomic and of its twin inside the runtime are
leaves of the type that they hold, so a field keeps its name when a version makes it atomic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from pathlib import Path

    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE

GO_KIND: Final = "DW_AT_GO_kind"
KINDS: Final = {
    1: "bool", 2: "i64", 3: "i8", 4: "i16", 5: "i32", 6: "i64", 7: "u64", 8: "u8", 9: "u16", 10: "u32", 11: "u64",
    12: "u64", 13: "f32", 14: "f64", 15: "c64", 16: "c128", 18: "ptr", 19: "ptr", 20: "iface", 21: "ptr", 22: "ptr",
    23: "slice", 24: "string", 26: "ptr",
}  # fmt: skip
"""reflect.Kind to ours; 17 is an array, 25 a struct."""
ARRAY: Final = 17
STRUCT: Final = 25
ATOMIC: Final = re.compile(r"^(?:internal/runtime|runtime/internal|sync)/atomic\.(\w+)(?:\[|$)")
ATOMICS: Final = {
    "Bool": "bool", "Int32": "i32", "Int64": "i64", "Uint8": "u8", "Uint32": "u32", "Uint64": "u64", "Uintptr": "u64",
    "Float64": "f64", "Pointer": "ptr", "UnsafePointer": "ptr",
}  # fmt: skip

Field = list[int | str]
"""[offset, kind] or, for an array, [offset, kind of an element, count, stride]."""
Struct = tuple[int, dict[str, Field]]


@dataclass
class Program:
    """What the DWARF of one program says."""

    structs: dict[str, Struct]
    variables: dict[str, tuple[str, int]]
    constants: dict[str, int]


def read(path: Path, wanted: set[str], variables: set[str]) -> Program:
    """The wanted structs (full names), and those that are the types of the wanted variables."""
    with path.open("rb") as file:
        return _Reader(ELFFile(file)).program(wanted, variables)


class _Reader:
    def __init__(self, elf: ELFFile) -> None:
        self.dwarf = elf.get_dwarf_info()
        self.types: dict[str, DIE] = {}
        self.variables: dict[str, DIE] = {}
        self.constants: dict[str, int] = {}
        for unit in self.dwarf.iter_CUs():
            self._unit(unit)

    def _unit(self, unit: CompileUnit) -> None:
        top = unit.get_top_DIE()
        for die in unit.iter_DIEs():
            name = die.attributes.get("DW_AT_name")
            if name is None or die.get_parent() is not top:
                continue
            text = name.value.decode()
            if die.tag in ("DW_TAG_structure_type", "DW_TAG_typedef"):
                self.types.setdefault(text, die)
            elif die.tag == "DW_TAG_variable":
                self.variables[text] = die
            elif die.tag == "DW_TAG_constant":
                self.constants[text] = die.attributes["DW_AT_const_value"].value

    def program(self, wanted: set[str], variables: set[str]) -> Program:
        structs = {name: self.struct(self.types[name]) for name in sorted(wanted) if name in self.types}
        found = {}
        for name in sorted(variables & self.variables.keys()):
            die = self.kind_of(self.variables[name])
            kind, _ = self.name_of(die)
            if kind == "struct":  # an unnamed struct type bears the name of its variable
                text = die.attributes["DW_AT_name"].value.decode()
                kind = text if re.fullmatch(r"[\w./]+", text) else name
                structs.setdefault(kind, self.struct(die))
            elif kind == "array":
                fields: dict[str, Field] = {}
                self.member(fields, "", 0, die)
                structs[name], kind = (self.size(die), fields), name
            found[name] = (kind, self.size(die))
        return Program(structs, found, self.constants)

    def kind_of(self, die: DIE) -> DIE:
        """The type that a variable, member or typedef is of, typedefs followed to the end."""
        die = die.get_DIE_from_attribute("DW_AT_type")
        return self.kind_of(die) if die.tag == "DW_TAG_typedef" and "DW_AT_type" in die.attributes else die

    def size(self, die: DIE) -> int:
        if "DW_AT_byte_size" in die.attributes:
            return int(die.attributes["DW_AT_byte_size"].value)
        if die.tag == "DW_TAG_typedef":
            return self.size(self.kind_of(die))
        return 8  # pointers to functions, and maps

    def name_of(self, die: DIE) -> tuple[str, str]:
        """Our kind of a type, and the type's name."""
        name = die.attributes.get("DW_AT_name")
        text = name.value.decode() if name else ""
        atomic = ATOMIC.match(text)
        if atomic and atomic[1] in ATOMICS:
            return ATOMICS[atomic[1]], text
        if text.startswith("atomic.Pointer["):
            return "ptr", text
        attribute = die.attributes.get(GO_KIND) or die.attributes.get(0x2900)
        kind = attribute.value if attribute else 0
        if kind == ARRAY or die.tag == "DW_TAG_array_type":
            return "array", text
        if kind in KINDS:
            return KINDS[kind], text
        if die.tag == "DW_TAG_structure_type":
            return ("iface" if text in ("runtime.iface", "runtime.eface") else "struct"), text
        if die.tag in ("DW_TAG_pointer_type", "DW_TAG_subroutine_type"):
            return "ptr", text
        raise ValueError(f"a type of unknown kind: {die}")

    def struct(self, die: DIE) -> Struct:
        fields: dict[str, Field] = {}
        if die.tag == "DW_TAG_typedef":
            die = self.kind_of(die)
        self.members(fields, "", 0, die)
        return self.size(die), fields

    def members(self, fields: dict[str, Field], prefix: str, base: int, die: DIE) -> None:
        for member in die.iter_children():
            if member.tag != "DW_TAG_member":
                continue
            name = member.attributes["DW_AT_name"].value.decode()
            if name != "_":
                at = base + member.attributes["DW_AT_data_member_location"].value
                self.member(fields, f"{prefix}{name}", at, self.kind_of(member))

    def member(self, fields: dict[str, Field], path: str, at: int, die: DIE) -> None:
        kind, _ = self.name_of(die)
        size = self.size(die)
        if size == 0:
            return
        dot = f"{path}." if path else ""
        if kind == "struct":
            inner_fields: dict[str, Field] = {}
            self.members(inner_fields, dot, at, die)
            if path:
                leaves = [each for each in inner_fields.values() if each[1] != "struct"]
                alone = len(leaves) == 1 and len(leaves[0]) == 2 and leaves[0][0] == at
                fields[path] = [at, leaves[0][1] if alone else "struct"]
            fields.update(inner_fields)
        elif kind == "array":
            element = self.kind_of(die)
            while self.name_of(element)[0] == "array":  # [2][3]T is one array of six
                element = self.kind_of(element)
            inner, _ = self.name_of(element)
            stride = self.size(element)
            fields[path or "[]"] = [at, inner, size // stride, stride]
            if inner == "struct":
                self.members(fields, f"{path}[].", at, element)
        else:
            fields[path] = [at, kind]
