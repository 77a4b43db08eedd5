"""Makes every picture in this folder from recordings of real runs: tests/sessions and the bundled demos.

    python -m screenshots.make [RECORDING...] [--png]

One SVG a recording, view and size (80x24 and 200x50, dark; the findings in the light theme too). With --png pictures
too, by rsvg-convert. Nothing here is edited by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from gotriage.catalog import VIEWS
from gotriage.session.recording import load
from gotriage.ui.app import GotriageApp
from gotriage.ui.front import Front

HERE = Path(__file__).parent
SUFFIX = ".gts.jsonl.zst"
README = "descriptors-findings-80x24.svg"
"""The picture that the README opens with, as findings.svg."""
SIZES = ((80, 24), (200, 50))
FONT = "'DejaVu Sans Mono', 'Fira Code', monospace"


def recordings() -> list[Path]:
    """The golden recordings and the demos, each name once."""
    folders = (HERE.parent / "tests" / "sessions", HERE.parent / "gotriage" / "demos")
    return sorted({path.name: path for folder in folders for path in folder.glob(f"*{SUFFIX}")}.values())


async def pictures(path: Path, size: tuple[int, int], theme: str, views: list[str]) -> dict[str, str]:
    """View id to SVG: one app, which goes through the views as a user would."""
    session, _ = load(path)
    app = GotriageApp(Front(session, title=path.name.removesuffix(SUFFIX)), theme)
    made = {}
    async with app.run_test(size=size) as pilot:
        for view in VIEWS:
            if view.id in views:
                await pilot.press(view.key)
                await pilot.pause(0.3)
                made[view.id] = plain(app.export_screenshot(title=f"gotriage {view.title.lower()}"))
    return made


def plain(svg: str) -> str:
    """The SVG without a font from elsewhere, without random names, and with blanks that every renderer keeps."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("&#160;", " ")
    svg = svg.replace("<text ", '<text xml:space="preserve" ').replace("Fira Code, monospace", FONT)
    return re.sub(r"terminal-\d+-", "t-", svg)


def main() -> None:
    """Make them all."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("recordings", nargs="*", type=Path)
    options.add_argument("--png", action="store_true")
    given = options.parse_args()
    os.environ["TZ"] = "UTC"  # the same pictures everywhere
    time.tzset()
    every = [view.id for view in VIEWS]
    for path in given.recordings or recordings():
        name = path.name.removesuffix(SUFFIX)
        for size, theme, views in (
            (SIZES[0], "dark", every),
            (SIZES[1], "dark", every),
            (SIZES[0], "light", ["findings"]),
        ):
            for view, svg in asyncio.run(pictures(path, size, theme, views)).items():
                tail = "" if theme == "dark" else f"-{theme}"
                file = HERE / f"{name}-{view}-{size[0]}x{size[1]}{tail}.svg"
                file.write_text(svg, "utf-8")
                if file.name == README:
                    (HERE / "findings.svg").write_text(svg, "utf-8")
                print(file.relative_to(HERE.parent))
                if given.png and shutil.which("rsvg-convert"):
                    subprocess.run(["rsvg-convert", file, "-o", file.with_suffix(".png")], check=True)


if __name__ == "__main__":
    main()
