"""Prove what happens on the sockets of the twins, for every dialect that has one: idle, dropped, shared, never read."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dialect_helpers import DIALECTS, Dialect, twin_of
from scpi_helpers import Clock, part_of

from hil.twins.scpi_server import ScpiServer
from hil.twins.scpi_terminals import TerminalTwin
from hil.twins.scpi_twins import serve
from instruments.scpi_catalog import ScpiPart

SOCKETS = [
    pytest.param(model.scpi, id=model.model.name)
    for model in DIALECTS
    if model.scpi is not None and model.scpi.transport.kind == "socket"
]
Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class SkewedLoop(asyncio.SelectorEventLoop):
    """Run an event loop whose clock a test moves: timers ahead of it fire at once."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


def played(test: Callable[[SkewedLoop], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine on a loop whose clock can be moved."""
    loop = SkewedLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(test(loop), 60.0))
    finally:
        loop.close()


@asynccontextmanager
async def served(part: ScpiPart) -> AsyncIterator[tuple[ScpiServer, TerminalTwin]]:
    """Serve a twin that answers at once; its socket is closed at the end."""
    quick = [way.model_copy(update={"reply_s": 0.0}) for way in part.transports]
    twin = twin_of(part.model_copy(update={"transports": quick}), Clock())
    server = serve(twin)
    await server.start()
    try:
        yield server, twin
    finally:
        await server.stop()


async def connect(server: ScpiServer) -> Link:
    """Return a new connection."""
    return await asyncio.open_connection(*server.address)


async def said(link: Link, message: bytes) -> bytes:
    """Send a message and return the next line that arrives."""
    link[1].write(message)
    await link[1].drain()
    return await link[0].readline()


@pytest.mark.parametrize("part", SOCKETS)
def test_six_idle_seconds_end_a_connection_where_the_device_does_that(part: ScpiPart) -> None:
    async def run(loop: SkewedLoop) -> None:
        async with served(part) as (server, _):
            link = await connect(server)
            assert (await said(link, b"*OPC?\n")).startswith(b"1")
            loop.ahead_s += 6.0
            if 0.0 < part.transport.idle_close_s <= 6.0:
                assert await link[0].read() == b""
                again = await connect(server)
                assert (await said(again, b"*OPC?\n")).startswith(b"1")
                again[1].close()
            else:
                assert (await said(link, b"*OPC?\n")).startswith(b"1")
            link[1].close()

    played(run)


@pytest.mark.parametrize("part", SOCKETS)
def test_a_connection_that_drops_in_mid_reply_leaves_a_device_that_answers_the_next(part: ScpiPart) -> None:
    async def run(loop: SkewedLoop) -> None:
        async with served(part) as (server, _):
            link = await connect(server)
            server.half_reply()
            link[1].write(b"*IDN?\n")
            half = await link[0].read()
            sample = part.identity.sample.encode()
            assert half and sample.startswith(half) and len(half) < len(sample)
            link[1].close()
            again = await connect(server)
            assert (await said(again, b"*IDN?\n")).strip() == sample
            again[1].close()

    played(run)


@pytest.mark.parametrize("part", SOCKETS)
def test_a_partial_line_is_never_executed(part: ScpiPart) -> None:
    async def run(loop: SkewedLoop) -> None:
        fields = Dialect(part).fields()
        async with served(part) as (server, twin):
            before = dict(twin.values)
            link = await connect(server)
            link[1].write(f"{fields['h']} {fields['low']}{fields['t']}".encode())
            await link[1].drain()
            link[1].close()
            await link[1].wait_closed()
            again = await connect(server)
            assert (await said(again, b"*OPC?\n")).startswith(b"1")
            assert twin.values == before
            again[1].close()

    played(run)


@pytest.mark.parametrize("part", SOCKETS)
def test_two_clients_are_served_or_the_second_is_turned_away(part: ScpiPart) -> None:
    async def run(loop: SkewedLoop) -> None:
        async with served(part) as (server, twin):
            first = await connect(server)
            assert (await said(first, b"*OPC?\n")).startswith(b"1")
            second = await connect(server)
            second[1].write(b"FOO\n*OPC?\n")
            if part.transport.max_clients == 1:
                assert await refused(second)
            else:
                assert (await second[0].readline()).startswith(b"1")
                count = 1 if part.parser.error_per == "instrument" else 0
                assert (await said(first, b"*OPC?\n")).startswith(b"1")
                assert len(twin.status.errors) == count
            for link in (first, second):
                link[1].close()

    played(run)


async def refused(link: Link) -> bool:
    """Tell whether the other side has ended the connection."""
    try:
        return await link[0].read() == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("part", SOCKETS)
def test_an_answer_that_nobody_reads_shifts_every_later_one(part: ScpiPart) -> None:
    async def run(loop: SkewedLoop) -> None:
        async with served(part) as (server, _):
            link = await connect(server)
            assert (await said(link, b"*ESE 36\n*ESE?\n*OPC?\n")).strip() == b"36"
            link[1].write(b"*IDN?\n")
            assert (await link[0].readline()).strip() == b"1"  # not the identity
            end = part.transport.term_in.encode()
            assert (await link[0].readline()).endswith(end)
            link[1].close()

    played(run)


@pytest.mark.parametrize("part", SOCKETS)
def test_a_new_connection_for_every_call_that_is_dropped_without_a_word(part: ScpiPart) -> None:
    async def run(loop: SkewedLoop) -> None:
        async with served(part) as (server, _):
            for _ in range(12):
                while server.clients:
                    await asyncio.sleep(0)
                link = await connect(server)
                assert (await said(link, b"*OPC?\n")).startswith(b"1")
                link[1].transport.abort()
            assert server.clients <= 1

    played(run)


def test_a_block_with_a_line_feed_in_it_is_one_message() -> None:
    async def run(loop: SkewedLoop) -> None:
        async with served(part_of("itech-it8600")) as (server, twin):
            link = await connect(server)
            assert (await said(link, b"CURR #13a\nb\n*OPC?\n")).startswith(b"1")
            assert twin.status.errors.codes() == [-168]
            link[1].close()

    played(run)


def test_a_late_answer_of_an_overlapped_command_reaches_its_own_connection() -> None:
    async def run(loop: SkewedLoop) -> None:
        async with served(part_of("keysight-rp7900")) as (server, twin):
            one, two = await connect(server), await connect(server)
            one[1].write(b"VOLT:SLEW 10;:OUTP ON;:VOLT 10;*OPC?\n")
            while not twin.terminals_on:
                await asyncio.sleep(0)
            assert (await said(two, b"VOLT?\n")).strip() == b"+1.000000E+01"
            for _ in range(11):
                twin.step(0.0, 0.1)
            assert await one[0].readline() == b"1\n"
            for link in (one, two):
                link[1].close()

    played(run)


def test_bytes_that_arrive_one_by_one_and_lines_that_arrive_together() -> None:
    async def run(loop: SkewedLoop) -> None:
        async with served(part_of("itech-it8600")) as (server, _):
            link = await connect(server)
            link[1].get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"*OPC?\r":
                link[1].write(bytes([byte]))
                await link[1].drain()
            assert (await said(link, b"\n*OPC?\n*OPC?\n")).startswith(b"1")
            assert [(await link[0].readline()).strip() for _ in range(2)] == [b"1", b"1"]
            link[1].close()

    played(run)
