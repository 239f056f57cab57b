"""Drive devices over every wire that the library serves: addresses, HiSLIP, VXI-11, serial, pacing, idle close."""

import itertools
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from scpi_helpers import LOAD, part_of, serving
from wire_servers import hislip, serial_line, vxi11

from instruments import scpi_address
from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_link import Link
from instruments.scpi_port import ScpiPort

PART = part_of(LOAD)
TIMEOUT_S = 5.0


def answering(message: bytes) -> bytes | None:
    """Answer as a load of the catalog would; `QUIET?` never does."""
    replies = {b"*IDN?": PART.identity.sample.encode(), b"INP?": b"0", b"CURR?;:SYST:ERR?": b'1.0;0,"No error"'}
    reply = replies.get(message)
    return None if reply is None else reply + b"\n"


def fault_of(act: Callable[[], Any]) -> PortFault:
    with pytest.raises(PortFault) as caught:
        act()
    return caught.value


def opened(address: str, part: ScpiPart = PART, timeout_s: float = TIMEOUT_S) -> ScpiPort:
    port = ScpiPort("dut", part, address, timeout_s=timeout_s)
    port.open()
    return port


@pytest.mark.parametrize(
    ("text", "kind", "host", "port"),
    [
        ("TCPIP::192.168.0.9::5025::SOCKET", "socket", "192.168.0.9", 5025),
        ("tcpip0::lab-source.local::2101::socket", "socket", "lab-source.local", 2101),
        ("TCPIP::10.0.0.1::INSTR", "vxi11", "10.0.0.1", 0),
        ("TCPIP::10.0.0.1::inst0::INSTR", "vxi11", "10.0.0.1", 0),
        ("TCPIP::10.0.0.1::gpib0,5::INSTR", "vxi11", "10.0.0.1", 0),
        ("TCPIP::10.0.0.1,1024::inst0::INSTR", "vxi11", "10.0.0.1", 1024),
        ("TCPIP0::10.0.0.1::hislip0::INSTR", "hislip", "10.0.0.1", 4880),
        ("TCPIP0::10.0.0.1::hislip1,4881::INSTR", "hislip", "10.0.0.1", 4881),
        ("USB0::0x0A69::0x086C::632000001::INSTR", "usb", "", 0),
        ("USB::2665::2156::A1::0::INSTR", "usb", "", 0),
        ("ASRL1::INSTR", "serial", "", 0),
        ("ASRL/dev/ttyUSB0::INSTR", "serial", "", 0),
        ("ASRLsocket://10.0.0.1:4001::INSTR", "serial", "", 0),
        ("ASRLloop://::INSTR", "serial", "", 0),
        ("GPIB0::5::INSTR", "gpib", "", 0),
        ("GPIB::5::2::INSTR", "gpib", "", 0),
    ],
)
def test_the_form_of_an_address_says_the_kind_of_wire(text: str, kind: str, host: str, port: int) -> None:
    address = scpi_address.parse(text)
    assert (address.kind, address.host, address.port) == (kind, host, port)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1:5025", "TCPIP::host::port::SOCKET"),
        ("TCPIP::10.0.0.1::x::SOCKET", "allowed"),
        ("TCPIP::10.0.0.1::70000::SOCKET", "port 70000; allowed 1..65535"),
        ("TCPIP::10.0.0.1::0::SOCKET", "port 0; allowed 1..65535"),
        ("TCPIP::::5025::SOCKET", "allowed"),
        ("TCPIP::10.0.0.1::5025::SOCKET ", "allowed"),
        ("TCPIP::a b::5025::SOCKET", "allowed"),
        ("GPIB0::31::INSTR", "primary 31; allowed 0..30"),
        ("USB::5::INSTR", "USB::vendor::product"),
        ("ASRL::INSTR", "ASRL/dev/ttyUSB0::INSTR"),
        ("", "allowed"),
    ],
)
def test_a_wrong_address_is_told_with_the_forms_that_are_allowed(text: str, said: str) -> None:
    fault = fault_of(lambda: ScpiPort("dut", PART, text))
    assert fault.kind == FaultKind.REFUSED and said in fault.detail and fault.channel == "address"


@pytest.mark.parametrize(("address", "missing"), [("USB::1::2::3::INSTR", "PyUSB"), ("GPIB::5::INSTR", "gpib")])
def test_a_wire_whose_backend_is_not_installed_is_refused_by_name(address: str, missing: str) -> None:
    fault = fault_of(ScpiPort("dut", PART, address).open)
    assert fault.kind == FaultKind.REFUSED and missing in fault.detail and address in fault.detail


@pytest.mark.parametrize(
    "address", ["TCPIP::127.0.0.1,{port}::inst0::INSTR", "TCPIP::127.0.0.1::hislip0,{port}::INSTR"]
)
def test_a_refused_connection_is_told_at_the_opening_on_message_based_wires(address: str) -> None:
    with socket.socket() as idle:
        idle.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        free = idle.getsockname()[1]
        assert fault_of(ScpiPort("dut", PART, address.format(port=free)).open).kind == FaultKind.REFUSED
    assert fault_of(ScpiPort("dut", PART, "ASRL/dev/no-such-line::INSTR").open).kind == FaultKind.REFUSED


WIRES = {
    "hislip": (hislip, "TCPIP::127.0.0.1::hislip0,{}::INSTR"),
    "vxi11": (vxi11, "TCPIP::127.0.0.1,{}::inst0::INSTR"),
}


@pytest.mark.parametrize("wire", WIRES)
def test_a_message_based_wire_identifies_queries_and_tells_a_silent_device(wire: str) -> None:
    serve, form = WIRES[wire]
    with serve(answering) as served:
        port = opened(form.format(served.port), timeout_s=0.6)
        assert port.identity == PART.identity.sample and port.nodelay
        assert port.exchange("CURR?;:SYST:ERR?", ("set", "error")) == {"set": "1.0", "error": '0,"No error"'}
        port.send("CURR 5")
        assert port.query("INP?") == "0"
        fault = fault_of(lambda: port.query("QUIET?"))
        assert fault.kind == FaultKind.TIMEOUT and "opened anew" in fault.detail
        assert port.query("INP?") == "0"  # nothing is shifted
        port.close()


@pytest.mark.parametrize("wire", WIRES)
def test_the_end_of_a_message_based_wire_is_a_disconnect_at_once(wire: str) -> None:
    serve, form = WIRES[wire]
    dying: list[Callable[[], None]] = []

    def last_words(message: bytes) -> bytes | None:
        if message == b"INP?":
            dying[0]()
        return answering(message)

    with serve(last_words) as served:
        dying.append(served.cut)
        port = opened(form.format(served.port), timeout_s=30.0)
        before_s = time.thread_time()
        assert fault_of(lambda: port.query("INP?")).kind == FaultKind.CLOSED
        assert time.thread_time() - before_s < 1.0  # CPU of this thread; the time-out is 30 s
        assert not port.is_open


def test_another_box_on_a_message_based_wire_is_refused_by_name() -> None:
    with hislip(lambda message: b"ACME,TOASTER,1,2\n") as served:
        fault = fault_of(lambda: opened(f"TCPIP::127.0.0.1::hislip0,{served.port}::INSTR"))
        assert fault.kind == FaultKind.WRONG_IDENTITY and "TOASTER" in fault.detail


def test_a_serial_line_is_driven_resynchronised_and_told_when_it_is_unplugged() -> None:
    with serial_line(answering) as line:
        port = opened(f"ASRL{line.device}::INSTR", timeout_s=0.6)
        assert port.query("INP?") == "0"
        fault = fault_of(lambda: port.query("QUIET?"))
        assert fault.kind == FaultKind.TIMEOUT and "opened anew" in fault.detail
        line.say(b"late answer\n")
        until_s = time.monotonic() + 30.0
        while not port._link.waiting() and time.monotonic() < until_s:  # type: ignore[union-attr]
            pass
        assert fault_of(lambda: port.query("INP?")).kind == FaultKind.PROTOCOL
        assert port.query("INP?") == "0"
        line.unplug()
        assert fault_of(lambda: port.query("INP?")).kind == FaultKind.CLOSED
        assert not port.is_open


def test_serial_settings_are_those_of_the_record() -> None:
    way = PART.transport.model_copy(update={"kind": "serial", "baud": 57600, "framing": "8N2"})
    part = PART.model_copy(update={"transports": [*PART.transports, way]})
    with serial_line(answering) as line:
        port = opened(f"ASRL{line.device}::INSTR", part)
        assert port._link is not None
        assert (port._link.resource.baud_rate, int(port._link.resource.stop_bits)) == (57600, 20)
        port.close()


def with_transport(**update: Any) -> ScpiPart:
    return PART.model_copy(update={"transports": [PART.transport.model_copy(update=update)]})


def test_messages_keep_the_gap_that_the_device_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(LOAD) as (served,):
        port = opened(served.address, with_transport(min_gap_s=0.02))
        times: list[float] = []  # of the sending: a busy machine delivers when it can
        write = Link.write
        monkeypatch.setattr(Link, "write", lambda *given: times.append(port._sent_s) or write(*given))
        for _ in range(5):
            port.send("*OPC")
        assert port.query("*OPC?").startswith("1")
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert len(gaps) == 4 and min(gaps) > 0.0199
        assert served.heard()[-6:] == [b"*OPC"] * 5 + [b"*OPC?"]
        port.close()


def test_a_socket_that_the_device_closes_when_idle_is_opened_anew_before_it_is_used() -> None:
    with serving(LOAD) as (served,):
        port = opened(served.address, with_transport(idle_close_s=0.2))
        assert port.query("INP?") == "0" and port.reopened == 0
        port._sent_s -= 0.19  # as if so much time had passed
        assert port.query("INP?") == "0" and port.reopened == 1
        port.close()
