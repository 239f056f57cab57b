"""Play a recorded protocol back to our own driver, byte for byte, over a real socket."""

from collections.abc import Iterator
from contextlib import contextmanager

from scpi_helpers import Loop

from hil.twins.scpi_server import ScpiServer
from instruments.catalog import load_model
from instruments.scpi_port import ScpiPort
from instruments.scpi_record import Exchange, Protocol


class Player:
    """Answer what was recorded as long as what is heard is what was recorded."""

    def __init__(self, exchanges: tuple[Exchange, ...], term_in: str) -> None:
        self.left = [exchange for exchange in exchanges if not exchange.fault]
        self.wrong = ""
        self._term = term_in

    def answer(self, message: bytes) -> bytes | None:
        """Return the recorded reply; once something else was heard, nothing is right any more."""
        wanted = self.left[0].send.encode() if self.left else b""
        if self.wrong or message != wanted:
            self.wrong = self.wrong or f"heard {message!r}, recorded {wanted!r} with {len(self.left)} exchanges left"
            return b"not recorded" + self._term.encode() if b"?" in message else None
        reply = self.left.pop(0).reply
        return None if reply is None else (reply + self._term).encode()


@contextmanager
def expected_protocol(protocol: Protocol) -> Iterator[ScpiPort]:
    """Give an open port whose other end plays the protocol; at the end everything recorded must have been said.

    An AssertionError tells the first byte-for-byte difference, whatever the driver made of it.
    """
    part = load_model(protocol.model).scpi
    assert part is not None
    quick = part.transport.model_copy(update={"kind": "socket", "port": 1, "min_gap_s": 0.0, "reply_s": 0.0})
    loop, player = Loop(), Player(protocol.exchanges, quick.term_in)
    server = ScpiServer(player.answer, quick)
    address = f"TCPIP::127.0.0.1::{loop.do(server.start())}::SOCKET"
    port = ScpiPort("recorded", part.model_copy(update={"transports": [quick]}), address, timeout_s=2.0)
    try:
        try:
            port.open()
            yield port
            port.close()
            loop.call(lambda: None)
        except Exception as error:
            if player.wrong:
                raise AssertionError(player.wrong) from error
            raise
        assert not player.wrong, player.wrong
        assert not player.left, f"never said: {[exchange.send for exchange in player.left]}"
    finally:
        port.close()
        loop.do(server.stop())
        loop.close()
