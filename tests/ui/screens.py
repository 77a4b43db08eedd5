"""Driving the screens without a terminal, and reading what stands on them."""

from __future__ import annotations

import asyncio

from gotriage.ui.app import GotriageApp

SMALL, LARGE = (80, 24), (200, 50)


def lines(app: GotriageApp) -> list[str]:
    """What the terminal would show, line by line."""
    return [strip.text for strip in app.screen._compositor.render_strips()]


def text(app: GotriageApp) -> str:
    return "\n".join(line.rstrip() for line in lines(app))


def drive(front, use, size=SMALL, theme=None):
    """Run the app on a front and `await use(app, pilot)` in it; returns what that returns."""

    async def run():
        app = GotriageApp(front, theme)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            return await use(app, pilot)

    return asyncio.run(run())


def shown(front, *keys: str, size=SMALL, theme=None) -> str:
    """The screen after these keys."""

    async def use(app, pilot):
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        await pilot.pause()
        return text(app)

    return drive(front, use, size, theme)
