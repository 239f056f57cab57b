"""Serve state, limits, reasons and alarms to a control room by OPC UA, and hand its orders to the order book.

`python -m controller.runtime.control_room SITE_JSON`, started by the supervisor where the site has `[opcua]`. It looks
at the images a few times a second and may die freely: nothing waits for it.
"""

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from controller.runtime import control_room_view as view
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.opcua_keys import OpcuaServerPort
from controller.runtime.order import Order, OrderError, parse_order
from controller.runtime.order_intake import Intake, IntakeError
from controller.runtime.process import die_with_parent, ignore_sigint
from controller.runtime.site import Site, read_site
from controller.runtime.store import Store
from controller.runtime.stores import BEAT_BYTES, CONTROL_ROOM
from controller.runtime.window import Window
from instruments.opcua_accounts import Accounts, load_accounts
from instruments.opcua_certificate import WARN_DAYS, CertificateError, load_own, utc_now
from instruments.opcua_controller import ControllerServer, OrderAnswer, OrderCall

POLL_S = 0.02
NICE = 5  # the scan goes first


def order_of(call: OrderCall) -> Order:
    """Return the order of a call; an OrderError says what is impossible about it."""
    fields: dict[str, object] = {
        "source": f"opcua:{call.user}",
        "order_id": call.order_id,
        "sequence": call.sequence,
        "kind": "withdraw" if call.withdraw else "setpoint" if call.steers else "cap",
    }
    if not call.withdraw:
        fields |= {"subject": call.node, "direction": call.direction, "value_w": call.limit_w}
        fields |= {"from_s": call.from_s, "to_s": call.to_s}
    return parse_order(fields)


async def take_order(intake: Callable[[], Intake], call: OrderCall) -> OrderAnswer:
    """Offer an order to the book and wait for its answer; without one it is not accepted."""
    try:
        book = intake()
        ticket = book.post(order_of(call))
    except (OrderError, IntakeError, OSError) as error:
        return OrderAnswer(False, False, str(error))
    while (answer := book.answer(ticket)) is None:
        await asyncio.sleep(POLL_S)
    return OrderAnswer(answer.accepted, answer.obeyed, answer.why)


class ControlRoom:
    """Join the window, the book and the server of one site."""

    def __init__(self, site: Site, port: OpcuaServerPort, events: Events) -> None:
        self.site, self.port, self.events = site, port, events
        self.window = Window(site)
        self._intake: Intake | None = None
        self._said = np.zeros(BEAT_BYTES, dtype=np.uint8)
        self._store = Store.attach(site.store(CONTROL_ROOM), BEAT_BYTES)
        hashed = load_accounts(port.users) if port.users else {}
        accounts = Accounts(hashed, anonymous=port.anonymous, tell=events.write)
        self.server = ControllerServer(
            view.quantities(),
            view.places(self.window),
            view.SEVERITIES,
            lambda call: take_order(self._book, call),
            accounts,
            port.opcua(),
            events.write,
        )

    def _book(self) -> Intake:
        """Return the intake of the order book, opened at the first order."""
        if self._intake is None:
            self._intake = Intake(self.site)
        return self._intake

    async def run(self, ended: asyncio.Event) -> None:
        """Listen and publish until `ended`. Errors: CertificateError, OSError where the port is taken."""
        listens = await self.server.open(self.port.host, self.port.port, importlib.metadata.version("voltbench"))
        address = f"opc.tcp://{self.port.host}:{listens}"
        self._said[:4] = np.frombuffer(listens.to_bytes(4, "little"), dtype=np.uint8)
        self._store.write(self._said, time.monotonic_ns())
        self.events.write("opcua_serves", address=address, security=self.port.security)
        self._warn()
        try:
            while not ended.is_set():
                await self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0 / self.port.rate_hz):  # wait_for of 3.11 may swallow a cancellation
                        await ended.wait()
        finally:
            await self.server.close()

    async def _look(self) -> None:
        """Publish what the window shows now, and beat."""
        now_ns = time.monotonic_ns()
        self.window.refresh()
        self._store.write(self._said, now_ns)
        if not self.window.started:
            return
        now = view.fresh(self.window, now_ns)
        shown = view.values(self.window)
        alarms = view.alarms(self.window, now_ns, view.skewed(self.window))
        await self.server.publish(shown, alarms, int(self.window.input.utc_ns[0]), fresh=now)

    def _warn(self) -> None:
        """Tell of a certificate that expires soon."""
        if self.port.security == "none":
            return
        own = load_own(self.port.certificate, self.port.key, utc_now())
        if own.days_left(utc_now()) < WARN_DAYS:
            days = round(own.days_left(utc_now()), 1)
            self.events.write("certificate_expires", device="opcua", days_left=days, text=f"{self.port.certificate}")


def listens_on(site: Site) -> int:
    """Return the TCP port that the server of a running site listens on; 0 where it does not yet."""
    buffer = np.zeros(BEAT_BYTES, dtype=np.uint8)
    Store.attach(site.store(CONTROL_ROOM), BEAT_BYTES).read(buffer)
    return int.from_bytes(buffer[:4].tobytes(), "little")


async def serve(site: Site, port: OpcuaServerPort, events: Events) -> int:
    """Serve until SIGTERM; return the exit code: 2 for a certificate or user file, 3 for a port that is taken."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    try:
        await ControlRoom(site, port, events).run(ended)
    except CertificateError as error:
        return _failed(events, f"opcua: {error}", 2)
    except OSError as error:
        text = f"opcua.port = {port.port} at {port.host}: {error.strerror or error}; give a port that is free"
        return _failed(events, text, 3)
    return 0


def _failed(events: Events, text: str, code: int) -> int:
    events.write("fault", device="opcua", text=text)
    print(text, file=sys.stderr)
    return code


def main(site_json: Path) -> int:
    """Serve the control room of a site until SIGTERM; return the exit code."""
    ignore_sigint()
    die_with_parent()
    os.nice(NICE)
    site = read_site(site_json)
    if site.opcua is None:
        print("the site has no [opcua]: nothing is served", file=sys.stderr)
        return 2
    return asyncio.run(serve(site, site.opcua, Events(Path(site.run_dir) / EVENTS, "control_room")))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
