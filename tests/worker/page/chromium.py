"""Chromium for tests of the page, where it is installed: it is in no locked environment.

Install it with ``pip install playwright && playwright install chromium`` (or take the system's Chromium) and
``npm install axe-core``; ``AXE_CORE`` names its file ``axe.min.js``.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_GRAVE = {"serious", "critical"}
THEMES = ("light", "dark")


def missing() -> str:
    """What is not installed, with the way to it; nothing where all is there."""
    if find_spec("playwright") is None:
        return "playwright is not installed: pip install playwright"
    if not Path(os.environ.get("AXE_CORE", "")).is_file():
        return "AXE_CORE does not name axe-core's axe.min.js: npm install axe-core"
    return ""


def _axe_core() -> str:
    return Path(os.environ["AXE_CORE"]).read_text(encoding="utf-8")


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """A Chromium without a window."""
    from playwright.async_api import async_playwright

    installed = next(filter(None, map(shutil.which, _BROWSERS)), None)
    async with async_playwright() as playwright:
        # Containers have no user namespaces for Chromium's sandbox; it opens nothing but our own page here.
        started = await playwright.chromium.launch(
            executable_path=installed, args=["--no-sandbox", "--js-flags=--expose-gc"]
        )
        try:
            yield started
        finally:
            await started.close()


class Tab:
    """A tab, and what has gone wrong in it.

    Attributes:
        page: Playwright's.
        faults: Errors of scripts, of the console and of the policy, and dialogs.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", self._note)
        page.on("dialog", self._dismiss)

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    async def _dismiss(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    async def grave_findings(self) -> list[str]:
        """What axe-core calls serious or critical in the tab as it is."""
        await self.page.evaluate(_axe_core())
        result = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{found['id']}: {node['html'][:200]} {node['failureSummary']}"
            for found in result["violations"]
            if found["impact"] in _GRAVE
            for node in found["nodes"]
        ]


@asynccontextmanager
async def tab(browser: Any, address: str, *, theme: str = "light", width: int = 1280) -> AsyncIterator[Tab]:
    """A tab that shows the page and has its first figures."""
    context = await browser.new_context(color_scheme=theme, viewport={"width": width, "height": 900})
    try:
        opened = Tab(await context.new_page())
        await opened.page.goto(address)
        yield opened
    finally:
        await context.close()
