"""A gRPC server that answers as the ``tensorrt_llm`` model does, behind a relay that can be slow or cut."""

import asyncio
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

ANSWER = (7, 8)


class RelayedTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers every prompt with ``ANSWER``.

    Attributes:
        handshake: Seconds for which the relay keeps back what the server says first on a new connection.
        answer_after: Seconds an answer takes.
        silent: Whether the relay swallows all that is said, and keeps the connections open.
        calls: Requests so far.
        port: Where the relay listens, on loopback.
    """

    def __init__(self) -> None:
        self.handshake = 0.0
        self.answer_after = 0.0
        self.silent = False
        self.calls = 0
        self._came = asyncio.Semaphore(0)
        self.port = 0
        self._server_port = 0
        self._connections: set[asyncio.StreamWriter] = set()

    async def ModelInfer(  # noqa: N802 - the protocol's name
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelInferResponse:
        """Answer as the contract has it."""
        self.calls += 1
        self._came.release()
        await asyncio.sleep(self.answer_after)
        response = service_pb2.ModelInferResponse()
        for name, content in (
            ("output_ids", array("i", ANSWER)),
            ("sequence_length", array("i", (len(ANSWER),))),
            ("output_log_probs", array("f", (0.0,) * len(ANSWER))),
        ):
            response.outputs.add(name=name)
            response.raw_output_contents.append(content.tobytes())
        return response

    async def has(self, calls: int) -> None:
        """Return when so many more calls have come in."""
        for _ in range(calls):
            await self._came.acquire()

    def cut(self) -> None:
        """Break all connections, as a network does; new ones are taken."""
        for writer in self._connections:
            writer.transport.abort()
        self._connections.clear()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one client and the server say."""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._connections |= {writer, to_server}

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, after: float) -> None:
            await asyncio.sleep(after)
            with suppress(OSError):
                while data := await source.read(65_536):
                    if not self.silent:
                        target.write(data)
            target.close()

        await asyncio.gather(pass_on(reader, to_server, 0.0), pass_on(from_server, writer, self.handshake))

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["RelayedTriton"]:
        """One that serves."""
        triton, server = cls(), grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
        triton._server_port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        relay = await asyncio.start_server(triton.relay, "127.0.0.1", 0)
        triton.port = relay.sockets[0].getsockname()[1]
        try:
            yield triton
        finally:
            relay.close()
            triton.cut()
            await server.stop(None)
