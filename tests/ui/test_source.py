"""No text of the target can be parsed as markup, because nothing in the room ever parses markup."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "gotriage" / "ui"
PARSERS = {
    "Static",
    "Label",
    "RichLog",
    "Log",
    "DataTable",
    "OptionList",
    "Markdown",
    "Button",
    "notify",
    "from_markup",
    "assemble",
}
"""What takes a plain str for markup, or would."""


def uses_markup(tree: ast.AST) -> list[str]:
    """Calls of what parses markup, and keyword arguments that turn it on."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found += [name] if name in PARSERS else []
            found += [key.arg for key in node.keywords if key.arg == "markup"]
        if isinstance(node, ast.Attribute) and node.attr in ("border_title", "border_subtitle", "tooltip"):
            found.append(node.attr)
    return found


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOM)))
def test_nothing_parses_markup(path):
    assert uses_markup(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code", ["Static(x)", "self.notify(name)", "Text.from_markup(x)", "f(markup=True)", "a.border_title = x"]
)
def test_the_check_notices(code):
    assert uses_markup(ast.parse(code))
