"""Measurements of the page in Chromium: ``python -m tests.worker.page.measure --help``.

``soak`` shows a stream of documents for some minutes: the state that the tab shows against the worker's
metrics, and the memory of both. ``cost`` measures the worker over a model that answers at once, page open and
closed in turn. ``pictures`` takes those of the documentation. All start a Kafka of their own, and print one
JSON line.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import psutil
from aiohttp import ClientResponse, ClientSession
from aiokafka import AIOKafkaProducer

from stream.bench import plumbing
from stream.bench.load import bench_documents, unlike_copies
from stream.bench.stack import report_death
from stream.bundled import sample_documents
from stream.kafka.topics import ensure_topics
from stream.local.plan import make_plan, running_stack
from stream.local.ports import free_ports
from stream.local.supervisor import Supervisor
from stream.settings import Inference, Settings
from tests.worker.page import chromium
from tests.worker.page.test_browser import ARABIC
from tests.worker.page.test_server import HOSTILE

_EVERY = 10.0  # seconds between two looks at the memory
_WARM_UP = 2_000
_PATIENCE = 60.0
_PARTITIONS = 4  # as a stack creates its topics
# Not every machine has a font of Chinese.
_MIXED = f"😀 Zoë met 👩‍🚀 in Köln. {ARABIC}"


def _records() -> Any:
    """Endless documents: the samples, with markup, emoji, right-to-left text and no documents among them."""
    lines = [json.loads(line) for line in sample_documents().read_text(encoding="utf-8").splitlines()]
    texts = [line["text"] for line in lines]
    texts[5::60] = [HOSTILE] * len(texts[5::60])
    texts[7::30] = [_MIXED] * len(texts[7::30])
    texts[9::30] = [ARABIC] * len(texts[9::30])
    for number, text in enumerate(cycle(texts)):
        bad = number % 97 == 96
        yield f"doc-{number}".encode(), b"{" if bad else json.dumps({"text": text}).encode()


async def soak(minutes: float, rate: float, *, instant: bool) -> dict[str, Any]:
    """Stream at a rate a minute with one tab open, over the bundled model or one that answers at once."""
    async with _instant_stack() if instant else _bundled_stack() as (settings, supervisor):
        address = f"http://127.0.0.1:{settings.page_port}/"
        worker = psutil.Process(next(pid for name, pid in supervisor.pids().items() if "worker" in name))
        async with chromium.browser() as browser, chromium.tab(browser, address) as tab:
            looks: list[dict[str, float]] = []
            sending = asyncio.create_task(_send(settings, rate / 60, minutes * 60))
            while not sending.done():
                await asyncio.wait({sending}, timeout=_EVERY)
                looks.append(await _look(tab, worker))
                _say(looks[-1])
            return {
                "minutes": minutes,
                "sent": sending.result(),
                "shown": await _until_shown(tab, sending.result()),
                "metrics": await _metrics(f"http://127.0.0.1:{settings.health_port}"),
                "faults": tab.faults,
                **_growth(looks),
            }


async def pictures(folder: Path) -> dict[str, Any]:
    """Take pictures of the views with documents of the bundled model."""
    async with _bundled_stack() as (settings, _), chromium.browser() as browser:
        sending = asyncio.create_task(_send(settings, 5, 600))
        try:
            await _shoot(browser, f"http://127.0.0.1:{settings.page_port}/", folder)
        finally:
            sending.cancel()
    return {"folder": str(folder)}


@asynccontextmanager
async def _bundled_stack() -> AsyncIterator[tuple[Settings, Supervisor]]:
    page_port, health_port = free_ports(2)
    settings = Settings(
        inference=Inference.IN_PROCESS,
        int8=True,
        page=True,
        page_port=page_port,
        health_port=health_port,
    )
    with tempfile.TemporaryDirectory(prefix="padellm-page-") as folder:
        stack = running_stack(settings, data_dir=Path(folder), on_change=lambda _: None)
        async with stack as (plan, supervisor):
            yield plan.settings, supervisor


@asynccontextmanager
async def _instant_stack() -> AsyncIterator[tuple[Settings, Supervisor]]:
    page_port, health_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="padellm-page-") as name:
        plan = make_plan(
            Settings(inference=Inference.IN_PROCESS, page=True, page_port=page_port, health_port=health_port),
            data_dir=Path(name),
        )
        async with Supervisor(on_change=report_death) as supervisor:
            await supervisor.start(plan.kafka)
            await ensure_topics(plan.settings)
            await supervisor.start(plumbing.InstantWorker(plan.settings, Path(name) / "worker.log"))
            yield plan.settings, supervisor


async def _send(settings: Settings, per_second: float, seconds: float) -> int:
    records = _records()
    began, sent = time.monotonic(), 0
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        while (passed := time.monotonic() - began) < seconds:
            for _ in range(int(passed * per_second) - sent):
                key, value = next(records)
                await producer.send(settings.documents_topic, value, key=key)
                sent += 1
            await asyncio.sleep(0.05)
    return sent


async def _look(tab: chromium.Tab, worker: psutil.Process) -> dict[str, float]:
    """Memory in MiB of the tab's JavaScript after a collection and of the worker, and the tab's elements."""
    await tab.page.evaluate("gc()")
    heap = await tab.page.evaluate("performance.memory.usedJSHeapSize")
    elements = await tab.page.evaluate("document.getElementsByTagName('*').length")
    return {
        "at": round(time.time()),
        "heap": round(heap / 2**20, 2),
        "elements": elements,
        "worker": round(worker.memory_info().rss / 2**20, 1),
        "faults": len(tab.faults),
    }


def _growth(looks: list[dict[str, float]]) -> dict[str, Any]:
    """Medians of the second and of the last quarter of the looks."""
    quarter = max(1, len(looks) // 4)
    second, last = looks[quarter : 2 * quarter] or looks, looks[-quarter:]
    return {
        name: [statistics.median(look[name] for look in part) for part in (second, last)]
        for name in ("heap", "elements", "worker")
    }


_SHOWN = """() => Object.fromEntries([...document.querySelectorAll('#figures div')].map(
    one => [one.children[0].textContent, Number(one.children[1].textContent.replaceAll(',', ''))]))"""


async def _until_shown(tab: chromium.Tab, sent: int) -> dict[str, float]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        shown = await tab.page.evaluate(_SHOWN)
        counts = {name: shown[name] for name in ("Events", "Dead letters", "Lag, records")}
        if counts["Events"] + counts["Dead letters"] >= sent or time.monotonic() > deadline:
            return counts
        await asyncio.sleep(0.5)


async def _metrics(address: str) -> dict[str, float]:
    async with ClientSession() as session, session.get(f"{address}/metrics") as answer:
        lines = [line.rpartition(" ") for line in (await answer.text()).splitlines()]
    values = {name: float(value) for name, _, value in lines if not name.startswith("#")}
    return {
        outcome: values[f'padellm_documents_total{{outcome="{outcome}"}}']
        for outcome in ("event", "dead_letter")
    }


async def _shoot(browser: Any, address: str, folder: Path) -> None:
    """Pictures of the views, and what axe-core finds in them."""
    for theme in chromium.THEMES:
        async with chromium.tab(browser, address, theme=theme, width=1100) as tab:
            await tab.page.locator("#samples > li").nth(5).wait_for()
            await asyncio.sleep(5)  # for the curve
            found = await tab.grave_findings()
            await tab.page.screenshot(path=folder / f"page-stream-{theme}.png")
            await tab.page.get_by_role("link", name="Try a text").click()
            await tab.page.locator("#text").fill(f"Angela Merkel visited Paris. {_MIXED}")
            await tab.page.get_by_role("button", name="Find entities").click()
            await tab.page.locator("#rounds h3").nth(1).wait_for()
            found += await tab.grave_findings()
            if theme == "light":
                await tab.page.screenshot(path=folder / "page-try.png")
            await tab.page.get_by_role("link", name="Messages").click()
            await tab.page.locator("#contract table").first.wait_for()
            found += await tab.grave_findings()
            if found or tab.faults:
                raise SystemExit(f"{theme}: {found} {tab.faults}")


async def cost(documents: int, pairs: int) -> dict[str, Any]:
    """Documents a second and processor time of the worker, page closed and open in turn."""
    copies = chain.from_iterable(unlike_copies(bench_documents(None, documents)))
    figures: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    async with _instant_stack() as (settings, supervisor):
        address = f"http://127.0.0.1:{settings.page_port}/"
        driver = plumbing._Driver(settings, _PARTITIONS, plumbing._values(copies))
        async with driver:
            await driver.send(_WARM_UP)
            for pair in range(pairs):
                for is_open in (False, True) if pair % 2 == 0 else (True, False):
                    async with _reader_if(address, is_open=is_open):
                        before = plumbing._usages(supervisor)["worker"].processor_seconds
                        latencies, seconds = await driver.send(documents)
                        spent = plumbing._usages(supervisor)["worker"].processor_seconds - before
                        figures[is_open].append((len(latencies) / seconds, 1000 * spent / documents))
                        _say({"open": is_open, "figures": figures[is_open][-1]})
    ratios = [
        [one[at] / other[at] for one, other in zip(figures[True], figures[False], strict=True)]
        for at in (0, 1)
    ]
    return {
        "documents": documents,
        "pairs": pairs,
        "open_over_closed": [round(statistics.median(each), 4) for each in ratios],
        **{
            f"{name}_{'open' if is_open else 'closed'}": round(
                statistics.median(each[at] for each in figures[is_open]), 4
            )
            for at, name in enumerate(("documents_per_second", "worker_ms"))
            for is_open in (False, True)
        },
    }


@asynccontextmanager
async def _reader_if(address: str, *, is_open: bool) -> AsyncIterator[None]:
    """Read the page's stream as a tab does; a browser would take the worker's core on a small machine."""
    if not is_open:
        yield
        return
    async with ClientSession() as session, session.get(f"{address}api/stream") as answer:
        reading = asyncio.create_task(_read(answer))
        yield
        reading.cancel()


async def _read(answer: ClientResponse) -> None:
    async for _ in answer.content.iter_any():
        pass


def _say(figures: dict[str, Any]) -> None:
    sys.stderr.write(f"{figures}\n")


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["soak", "cost", "pictures"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=1_000.0, help="documents a minute of soak")
    parser.add_argument("--instant", action="store_true", help="soak over a model that answers at once")
    parser.add_argument("--folder", type=Path, default=Path("docs"), help="of the pictures")
    parser.add_argument("--documents", type=int, default=3_000, help="documents of each part of cost")
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    if reason := chromium.missing():
        raise SystemExit(reason)
    if given.what == "soak":
        work = soak(given.minutes, given.rate, instant=given.instant)
    elif given.what == "cost":
        work = cost(given.documents, given.pairs)
    else:
        work = pictures(given.folder)
    sys.stdout.write(json.dumps(asyncio.run(work)) + "\n")


if __name__ == "__main__":
    main()
