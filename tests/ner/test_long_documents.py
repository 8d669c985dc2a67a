"""Documents of a third of a million characters."""

import asyncio
import time
import tracemalloc

from stream.contract.messages import Document, Policy
from stream.ner.extractor import Extractor
from tests.ner.oracle import Oracle, tiny_template


def find_ann(text, label):
    """Ann, as often as a window has her."""
    return ["Ann"] * text.count("Ann") if label == "person" else []


async def test_long_document_is_read_whole_in_bounded_memory_without_holding_the_loop():
    """300,000 characters: all entities, nothing unread, few megabytes, other work never held up for long."""
    template = tiny_template(tokens=400, overlap=64)
    text = "Ann wrote a rather long letter to the editor of the newspaper, who never answered it.\r\n" * 3450
    longest = 0.0

    async def heartbeat():
        nonlocal longest
        while True:
            began = time.process_time()  # other programs hold no loop up
            await asyncio.sleep(0)
            longest = max(longest, time.process_time() - began)

    class Forgetful(Oracle):
        async def generate(self, prompt):
            completion = await super().generate(prompt)
            self.prompts.clear()
            return completion

    beat = asyncio.create_task(heartbeat())
    tracemalloc.start()
    document = Document(text=text, labels=["person", "location"], policy=Policy.MULTI)
    result = await Extractor(Forgetful(template, find_ann), template, windows_in_flight=4).extract(document)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    beat.cancel()
    assert len(text) > 300_000
    assert len(result.entities) == 3450
    assert (result.coverage.unread, result.coverage.characters) == ([], len(text))
    assert peak < 64 * 2**20
    assert longest < 1.0
