"""Two calm palettes of our own, and what each role looks like in them. Colour is never the only sign."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from rich.style import Style
from textual.theme import Theme


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a theme, as #rrggbb."""

    name: str
    dark: bool
    background: str
    surface: str
    selected: str
    text: str
    dim: str
    faint: str
    accent: str
    good: str
    warning: str
    critical: str
    info: str
    plot: str
    plot_warning: str
    plot_critical: str


DARK = Palette(
    name="gotriage-dark",
    dark=True,
    background="#12161b",
    surface="#1b2129",
    selected="#273441",
    text="#d6dce2",
    dim="#8b97a3",
    faint="#4c5866",
    accent="#7cb7dc",
    good="#8dbf8f",
    warning="#e0b062",
    critical="#ef7d78",
    info="#93b4d6",
    plot="#3d6a88",
    plot_warning="#94733c",
    plot_critical="#a24c4b",
)
LIGHT = Palette(
    name="gotriage-light",
    dark=False,
    background="#fbfbf9",
    surface="#e9ecee",
    selected="#d5e3ee",
    text="#20262c",
    dim="#5d6771",
    faint="#b3bbc3",
    accent="#15639a",
    good="#2b7337",
    warning="#8d5a00",
    critical="#b3231c",
    info="#2f5f94",
    plot="#8fb8d4",
    plot_warning="#d9b26a",
    plot_critical="#e09a94",
)
PALETTES = {DARK.name: DARK, LIGHT.name: LIGHT}


def chosen(name: str | None) -> Palette:
    """The palette for `--theme dark|light`; without one after COLORFGBG ("15;0": the last number is the background)."""
    if name in ("light", "dark"):
        return LIGHT if name == "light" else DARK
    background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT if background in ("7", "15") else DARK


def textual_theme(palette: Palette) -> Theme:
    """The palette as a theme for Textual's own widgets and the style sheet."""
    return Theme(
        name=palette.name,
        primary=palette.accent,
        secondary=palette.info,
        accent=palette.accent,
        warning=palette.warning,
        error=palette.critical,
        success=palette.good,
        foreground=palette.text,
        background=palette.background,
        surface=palette.surface,
        panel=palette.surface,
        dark=palette.dark,
        variables={"input-selection-background": palette.selected, "block-cursor-background": palette.selected},
    )


@cache
def style_of(palette: Palette, role: str) -> Style:
    """What a role looks like; an unknown role is plain text."""
    looks = {
        "dim": Style(color=palette.dim),
        "label": Style(color=palette.dim),
        "unit": Style(color=palette.dim),
        "faint": Style(color=palette.faint),
        "strong": Style(color=palette.text, bold=True),
        "title": Style(color=palette.accent, bold=True),
        "heading": Style(color=palette.dim, bold=True),
        "accent": Style(color=palette.accent),
        "key": Style(color=palette.accent, bold=True),
        "good": Style(color=palette.good),
        "warning": Style(color=palette.warning),
        "critical": Style(color=palette.critical, bold=True),
        "info": Style(color=palette.info),
        "plot": Style(color=palette.plot),
        "plot-warning": Style(color=palette.plot_warning),
        "plot-critical": Style(color=palette.plot_critical),
        "match": Style(color=palette.background, bgcolor=palette.warning),
        "live": Style(color=palette.good, bold=True),
        "paused": Style(color=palette.background, bgcolor=palette.warning, bold=True),
        "past": Style(color=palette.background, bgcolor=palette.accent, bold=True),
        "tab": Style(color=palette.dim),
        "tab-on": Style(color=palette.accent, bold=True, underline=True),
        "mark": Style(color=palette.accent, bold=True),
    }
    return looks.get(role, Style(color=palette.text))


@cache
def fill_of(palette: Palette, fill: str) -> Style:
    """The background of a line: "selected", "surface", or "" for the page's own."""
    colors = {"selected": palette.selected, "surface": palette.surface}
    return Style(color=palette.text, bgcolor=colors.get(fill, palette.background))
