"""Servers of vLLM that are asked without Triton: their readiness and answers."""

from collections.abc import AsyncIterator

from stream.bundled import model_folder
from stream.doctor.finding import Finding, fail, ok
from stream.doctor.served_model import check_served_model
from stream.errors import ConfigurationError
from stream.inference.addresses import resolve
from stream.inference.grpc_generator import connection_trouble, tls_of_servers
from stream.inference.vllm import VllmGenerator
from stream.settings import Settings

_START = "start vllm.entrypoints.grpc_server (docs/serving.md), or set PADELLM_TRITON_URL=host:port"


async def check_vllm(settings: Settings) -> AsyncIterator[Finding]:
    """Check each server: that it is ready, and answers as it should."""
    try:
        tls = tls_of_servers(settings)
        if tls is not None:
            tls.pem()  # refuses a wrong file once, and not for each server
        addresses = await resolve(settings.triton_url)
    except ConfigurationError as error:
        yield fail("vllm", str(error), "correct the setting or the file that it names")
        return
    except OSError as error:
        found = f"{settings.triton_url} cannot be resolved: {error.strerror or error}"
        yield fail("vllm", found, "correct PADELLM_TRITON_URL, or the name's entry in the DNS")
        return
    for address in addresses:
        generator = VllmGenerator(address.url, host=address.host, tls=tls)
        try:
            if not await generator.ready():
                trouble = await connection_trouble(address.url, tls) or "not ready"
                yield fail("vllm", f"{address.url}: {trouble}", _START)
                continue
            yield ok("vllm", f"ready at {address.url}")
            async for finding in check_served_model(generator, model_folder(settings.model), "vllm"):
                yield finding
        finally:
            await generator.close()
