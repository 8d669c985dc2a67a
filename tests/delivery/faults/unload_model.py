"""A model that its server unloads and loads again."""

from tritonclient.grpc.aio import InferenceServerClient

from stream.inference.triton import MODEL_NAME
from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Unload the model twice, for some seconds each."""
    async with InferenceServerClient(run.triton.url) as triton:
        for _ in range(2):
            await run.pause(1, 4)
            run.note("unload", to="triton")
            await triton.unload_model(MODEL_NAME)
            await run.pause(1, 5)
            await triton.load_model(MODEL_NAME)
            run.note("load", to="triton")
