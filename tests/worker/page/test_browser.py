"""The page in Chromium, where it is installed."""

import pytest

from tests.worker.page import chromium
from tests.worker.page.test_feed import EMOJI, _entity, _event, _letter
from tests.worker.page.test_guard import TOKEN
from tests.worker.page.test_server import HOSTILE

pytestmark = pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing())

ARABIC = "سافرت أنجيلا ميركل إلى باريس"


@pytest.fixture
async def browser():
    """A Chromium."""
    async with chromium.browser() as started:
        yield started


def _fill(page) -> None:
    """Show documents of every kind."""
    page.feed.watch(_event("emoji", EMOJI, _entity(EMOJI, "Zoë"), _entity(EMOJI, "Köln", "place")))
    page.feed.watch(_event("arabic", ARABIC, _entity(ARABIC, "باريس", "location")))
    page.feed.watch(_event(HOSTILE, HOSTILE, _entity(HOSTILE, "alert", HOSTILE[:50])))
    page.feed.watch(_letter("bad", HOSTILE, HOSTILE.encode()))


@pytest.mark.parametrize("theme", chromium.THEMES)
async def test_browser_finds_no_grave_fault_of_accessibility(serve_page, browser, theme, metrics):
    """axe-core has no serious finding in any view of either theme, and nothing goes wrong in a tab."""
    async with serve_page() as (page, session):
        _fill(page)
        metrics.dead_letter(_letter().outcome)
        async with chromium.tab(browser, str(session._base_url), theme=theme) as tab:
            await tab.page.locator("#samples > li").nth(2).wait_for()
            await tab.page.locator("#letters summary").click()
            found = await tab.grave_findings()
            await tab.page.get_by_role("link", name="Try a text").click()
            await tab.page.get_by_role("button", name="Find entities").click()
            await tab.page.locator("#told-text mark").wait_for()
            found += await tab.grave_findings()
            await tab.page.get_by_role("link", name="Messages").click()
            await tab.page.locator("#contract table").first.wait_for()
            found += await tab.grave_findings()
            assert (found, tab.faults) == ([], [])


async def test_browser_shows_markup_of_documents_as_text(serve_page, browser):
    """Markup in a text, id, label or dead letter is shown character for character, and runs nothing."""
    async with serve_page() as (page, session):
        _fill(page)
        async with chromium.tab(browser, str(session._base_url)) as tab:
            hostile = tab.page.locator("#samples > li").first
            await hostile.wait_for()
            shown = await hostile.locator(".text").evaluate(
                "block => [...block.childNodes].filter(one => !one.classList?.contains('label'))"
                ".map(one => one.textContent).join('')"
            )
            assert shown == HOSTILE
            assert await tab.page.locator("#letters pre").evaluate("one => one.textContent") == HOSTILE
            assert await tab.page.locator("main script, main img, main [onerror]").count() == 0
            assert tab.faults == []


async def test_browser_policy_refuses_strings_as_markup(serve_page, browser):
    """Even a script of the page itself cannot turn a string into elements."""
    async with (
        serve_page() as (_, session),
        chromium.tab(browser, str(session._base_url)) as tab,
    ):
        refused = await tab.page.evaluate(
            "() => { try { document.body.innerHTML = '<b>x</b>'; return false } catch { return true } }"
        )
        assert refused


async def test_browser_marks_entities_where_they_are(serve_page, browser):
    """Behind emoji and in right-to-left text the marked characters are the entity's."""
    async with serve_page() as (page, session):
        _fill(page)
        async with chromium.tab(browser, str(session._base_url)) as tab:
            await tab.page.locator("#samples > li").nth(2).wait_for()
            assert await tab.page.locator("#samples > li:nth-child(3) mark").all_text_contents() == [
                "Zoë",
                "Köln",
            ]
            arabic = tab.page.locator("#samples > li:nth-child(2) .text")
            assert await arabic.locator("mark").all_text_contents() == ["باريس"]
            assert await arabic.evaluate("block => getComputedStyle(block).direction") == "rtl"


async def test_browser_works_by_keyboard(serve_page, browser):
    """The skip link, the views, a try and the search are reached and used without a mouse."""
    async with serve_page() as (page, session):
        _fill(page)
        async with chromium.tab(browser, str(session._base_url)) as tab:
            keyboard = tab.page.keyboard
            await tab.page.locator("#samples > li").first.wait_for()
            await keyboard.press("Tab")
            assert await tab.page.evaluate("document.activeElement.textContent") == "Skip to the content"
            await tab.page.locator("#wanted").focus()
            await keyboard.type("arabic")
            await keyboard.press("Enter")
            await tab.page.locator("#found-list > li").wait_for()
            assert await tab.page.evaluate("document.activeElement.id") == "found-title"
            await tab.page.get_by_role("link", name="Try a text").focus()
            await keyboard.press("Enter")
            await tab.page.locator("#labels").focus()
            await keyboard.type("person, place")
            await keyboard.press("Enter")
            await tab.page.locator("#rounds table").first.wait_for()
            assert await tab.page.evaluate("document.activeElement.id") == "told-title"


async def test_browser_logs_in_with_the_token(serve_page, browser):
    """The page asks for the token, and shows the stream once it has it."""
    async with serve_page(page_token=TOKEN) as (page, session):
        _fill(page)
        async with chromium.tab(browser, str(session._base_url)) as tab:
            await tab.page.locator("#token").fill(TOKEN)
            await tab.page.keyboard.press("Enter")
            await tab.page.locator("#samples > li").first.wait_for()
