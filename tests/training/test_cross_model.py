"""One recipe, several architectures: the same commands train each, and the engine and Triton serve it."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.cli import main
from stream.contract.messages import Document
from stream.generation import Completion, Prompt
from stream.local.triton import why_unavailable
from tests.plain_greedy import plain_greedy
from tests.training.recipe_file import write_recipe
from tests.training.synthetic import write_data

pytestmark = pytest.mark.train

ARCHITECTURES = {
    "llama": [],
    "qwen3": ["--set", "model.tied=false"],
    "mistral": ["--set", "model.kv_heads=1"],
    "gemma3_text": [],
}
TEXTS = [
    "Ada met Grace Hopper in New York .",
    "Oslo is large .",
    "Nobody was there .",
    "Alan ( Paris ) won .",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The made-up corpora."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=ARCHITECTURES)
def checkpoint(request, tmp_path_factory, data) -> Path:
    """What `padellm train RECIPE --set model.architecture=...` leaves behind."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = write_recipe(folder / "recipe.toml", data, folder / "run", steps=400)
    chosen = ["--set", f'model.architecture="{request.param}"', *ARCHITECTURES[request.param]]
    result = CliRunner().invoke(main, ["train", str(recipe), *chosen, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["f1"] > 60
    return folder / "run" / "checkpoint"


def prompts_of(checkpoint: Path) -> list[Prompt]:
    """A count prompt for each text and label, and a mention prompt for each of these."""
    from stream.ner.template import PromptTemplate

    template = PromptTemplate.load(checkpoint)
    prompts = []
    for text in TEXTS:
        prefix = template.prefix_ids(template.encode_text(text).ids)
        for label in template.config.default_labels:
            count = template.count_prompt(prefix, template.encode_text(label).ids)
            prompts += [Prompt(count.ids, 6, template.end_id), template.mention_prompt(count, 2, 1)]
    return prompts


def test_cross_model_engine_writes_the_same_greedy_tokens(checkpoint, tmp_path):
    """Our engine answers every prompt as transformers does, whatever the architecture."""
    from stream.engine.decoder import Decoder, EngineOptions

    prompts = prompts_of(checkpoint)
    decoder = Decoder.load(checkpoint, EngineOptions(graph_cache=tmp_path))
    try:
        answers = [future.result(60) for future in decoder.submit_many(prompts)]
    finally:
        decoder.close()
    assert [answer.ids for answer in answers] == [right.ids for right in plain_greedy(checkpoint, prompts)]


@pytest.mark.integration
@pytest.mark.skipif(why_unavailable() is not None, reason="no Triton here")
def test_cross_model_triton_serves_the_same_tokens_and_the_right_entities(checkpoint, tmp_path):
    """A real Triton serves the folder as it is: same tokens, and the entities that were taught are found."""
    from stream.local.reaper import Reaper
    from tests.integration.triton_fixture import RunningTriton

    prompts = prompts_of(checkpoint)
    with Reaper() as reaper:
        server = RunningTriton(tmp_path / "triton", checkpoint, reaper)
        try:
            server.start()
            answers, found = asyncio.run(ask(server.url, checkpoint, prompts))
        finally:
            server.stop()
    assert [answer.ids for answer in answers] == [right.ids for right in plain_greedy(checkpoint, prompts)]
    assert ("Oslo", "location") in found[1]
    assert not found[2]


async def ask(
    url: str, checkpoint: Path, prompts: list[Prompt]
) -> tuple[list[Completion], list[set[tuple[str, str]]]]:
    """What Triton writes to the prompts, and the entities of the texts, all at once."""
    from stream.inference.triton import TritonGenerator
    from stream.ner.extractor import Extractor
    from stream.ner.template import PromptTemplate

    generator = TritonGenerator(url)
    extractor = Extractor(generator, PromptTemplate.load(checkpoint))
    try:
        answers = await asyncio.gather(*map(generator.generate, prompts))
        documents = [Document(text=text) for text in TEXTS]
        found = await asyncio.gather(*map(extractor.extract, documents))
    finally:
        await generator.close()
    return list(answers), [{(each.text, each.label) for each in one.entities} for one in found]
