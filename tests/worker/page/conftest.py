"""The page over a tiny model and no broker."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession

from stream.bench.instant_worker import InstantGenerator
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.worker.page.server import Page, page_server
from stream.worker.page.text_trial import TextTrial
from tests.tiny_model import write_tiny_checkpoint

Serve = Callable[..., AbstractAsyncContextManager[tuple[Page, ClientSession]]]


@pytest.fixture
def serve_page(health, metrics, tmp_path) -> Serve:
    """A page with settings, and a session of its address; the first word of a text is a person."""
    template = PromptTemplate.load(write_tiny_checkpoint(tmp_path))

    @asynccontextmanager
    async def serve(**options: Any) -> AsyncIterator[tuple[Page, ClientSession]]:
        settings = Settings(page=True, **options)
        page = Page(settings, health, metrics)
        page.trial = TextTrial(settings, template, InstantGenerator(template))
        async with page_server(page, "127.0.0.1", 0) as address, ClientSession(address) as session:
            yield page, session

    return serve
