"""Stand between an OPC UA client and its server on the wire: delay, hold, double, swap or drop what the server says."""

import asyncio


class Proxy:
    """Forward connections to `port`; `fault` is done to the next chunks from the server, once where it is a word.

    `double` sends a chunk twice, `swap` two chunks the other way round, `drop` leaves one out; `held` keeps everything
    back while it is True, and `delay_s` sends everything so much later.
    """

    def __init__(self, port: int) -> None:
        self._far = port
        self.fault = ""
        self.held = False
        self.delay_s = 0.0
        self.done: list[str] = []
        self._server: asyncio.Server | None = None
        self._links: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        """Listen and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close all connections."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """End every connection without a word."""
        for writer in self._links:
            writer.transport.abort()
        self._links.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
        self._links += [writer, far_writer]
        try:
            await asyncio.gather(self._up(reader, far_writer), self._down(far_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            while self.held:
                await asyncio.sleep(0.01)
            writer.write(chunk)
        raise ConnectionResetError

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept = b""
        while True:
            head = await reader.readexactly(8)  # Part 6, 7.1.2: type, chunk, size
            chunk = head + await reader.readexactly(int.from_bytes(head[4:8], "little") - 8)
            while self.held:
                await asyncio.sleep(0.01)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if kept:
                chunk, kept = chunk + kept, b""
                self.done.append("swap")
            elif self.fault and head[:3] == b"MSG":
                fault, self.fault = self.fault, ""
                if fault == "swap":
                    kept = chunk
                    continue
                self.done.append(fault)
                chunk = {"double": chunk + chunk, "drop": b""}[fault]
            writer.write(chunk)
