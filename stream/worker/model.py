"""The model that the settings name, ready to serve."""

from collections.abc import Callable
from pathlib import Path

from stream.contract.messages import ModelInfo
from stream.generation import Completion, Generator, Prompt
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Inference, Settings
from stream.worker.handler import Served
from stream.worker.metrics import Telemetry

MakeGenerator = Callable[[Settings, Path, Telemetry], Generator]


class _Counting:
    """A generator whose completions are counted and taken as progress: a long document is seen to move."""

    def __init__(self, generator: Generator, on_completion: Callable[[], None]) -> None:
        self._generator = generator
        self._on_completion = on_completion
        self.ready = generator.ready
        self.close = generator.close

    async def generate(self, prompt: Prompt) -> Completion:
        completion = await self._generator.generate(prompt)
        self._on_completion()
        return completion


def make_generator(settings: Settings, folder: Path, telemetry: Telemetry) -> Generator:
    """A client of Triton, or the engine in this process.

    Raises:
        stream.errors.CheckpointError: The engine cannot run the model folder.
    """
    if settings.inference is Inference.IN_PROCESS:
        from stream.inference.in_process import InProcessGenerator  # noqa: PLC0415 - needs the extra [local]

        return InProcessGenerator.load(
            folder, threads=settings.engine_threads, grounded=settings.grounded, int8=settings.int8
        )
    from stream.inference.triton import TritonGenerator  # noqa: PLC0415 - half a second of gRPC

    telemetry.breaker("closed")
    return TritonGenerator(
        settings.triton_url,
        model=settings.triton_model,
        in_flight=settings.triton_in_flight,
        call_deadline=settings.triton_call_deadline,
        breaker_failures=settings.breaker_failures,
        breaker_pause=settings.breaker_pause,
        on_breaker_change=telemetry.breaker,
    )


def serve_with(
    settings: Settings,
    template: PromptTemplate,
    generator: Generator,
    telemetry: Telemetry,
    on_completion: Callable[[], None],
) -> Served:
    """Put template and generator together."""
    config = template.config
    info = ModelInfo(name=config.name, version=config.version, template_hash=config.template_hash)
    telemetry.model_is(info, config)
    counting = _Counting(generator, on_completion)
    return Served(
        generator=counting,
        extractor=Extractor(counting, template, policy=settings.policy, threshold=settings.threshold),
        info=info,
        default_labels=config.default_labels,
        calibration=config.calibration,
    )
