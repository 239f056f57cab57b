"""Play the pyvisa client against the twins over real sockets: what can go wrong on the wire, and how it is told."""

import socket
import threading
import time
from typing import Any

import pytest
from pyvisa.constants import StatusCode
from pyvisa_py.tcpip import TCPIPSocketSession
from scpi_helpers import LOAD, SOURCE, Served, part_of, serving

from instruments.faults import FaultKind, PortFault
from instruments.scpi_port import ScpiPort, split_answers

SHORT_S = 0.6


def port_to(served: Served, model: str, timeout_s: float = SHORT_S) -> ScpiPort:
    return ScpiPort("dut", part_of(model), served.address, timeout_s=timeout_s)


def fault_of(act: Any) -> PortFault:
    with pytest.raises(PortFault) as caught:
        act()
    return caught.value


@pytest.mark.parametrize("model", [SOURCE, LOAD])
def test_a_device_is_identified_and_nodelay_is_set(model: str) -> None:
    with serving(model) as (served,):
        port = port_to(served, model, 2.0)
        assert port.open() == part_of(model).identity.sample
        assert port.nodelay
        port.close()
        assert not port.is_open


def test_a_refused_connection_is_told_at_the_opening() -> None:
    with socket.socket() as idle:
        idle.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        free = idle.getsockname()[1]
        port = ScpiPort("grid", part_of(SOURCE), f"TCPIP::127.0.0.1::{free}::SOCKET", timeout_s=2.0)
        fault = fault_of(port.open)
    assert fault.kind == FaultKind.REFUSED
    assert f"::{free}::" in fault.detail
    assert not port.is_open


def test_a_host_that_never_answers_is_told_as_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unanswered(self: TCPIPSocketSession) -> StatusCode:
        self.interface = socket.socket()
        return StatusCode.error_timeout

    monkeypatch.setattr(TCPIPSocketSession, "_connect", unanswered)
    port = ScpiPort("grid", part_of(SOURCE), "TCPIP::127.0.0.1::9::SOCKET")
    assert fault_of(port.open).kind == FaultKind.REFUSED
    assert not port.is_open


def test_an_address_of_another_form_is_refused_with_the_allowed_one() -> None:
    fault = fault_of(lambda: ScpiPort("grid", part_of(SOURCE), "10.0.0.1:2101"))
    assert "TCPIP::host::port::SOCKET" in fault.detail


def test_another_box_is_refused_by_name_and_nothing_but_the_identity_was_asked() -> None:
    with serving(LOAD) as (served,):
        fault = fault_of(port_to(served, SOURCE, 2.0).open)
        assert fault.kind == FaultKind.WRONG_IDENTITY
        assert part_of(LOAD).identity.sample in fault.detail and part_of(SOURCE).identity.sample in fault.detail
        assert served.heard() == [b"*IDN?"]


def test_a_time_out_opens_the_session_anew_and_the_late_answer_never_shifts_a_later_one() -> None:
    with serving(LOAD) as (served,):
        port = port_to(served, LOAD)
        port.open()
        served.server.lose_reply()
        fault = fault_of(lambda: port.query("CURR? MAX"))
        assert fault.kind == FaultKind.TIMEOUT and "opened anew" in fault.detail
        assert port.reopened == port.timeouts == 1
        assert served.heard()[-2:] == [b"CURR? MAX", b"*IDN?"]
        assert float(port.query("CURR:PROT? MAX")) == 126.0
        port.close()


def test_a_device_that_stays_silent_leaves_a_closed_port_that_says_so() -> None:
    with serving(LOAD) as (served,):
        port = port_to(served, LOAD)
        port.open()
        served.server.stall(True)
        fault = fault_of(lambda: port.query("CURR?"))
        assert fault.kind == FaultKind.TIMEOUT and "opening it anew failed" in fault.detail
        assert not port.is_open
        assert fault_of(lambda: port.query("CURR?")).kind == FaultKind.CLOSED


def test_another_device_behind_the_same_address_is_not_taken_after_a_time_out() -> None:
    with serving(LOAD) as (served,):
        port = port_to(served, LOAD)
        port.open()
        served.server.lose_reply()
        port.identity = "ITECH Ltd.,IT8625,another,1.0"
        fault = fault_of(lambda: port.query("CURR?"))
        assert "another device answers now" in fault.detail
        assert not port.is_open


def test_the_end_of_the_stream_is_a_disconnect_at_once_and_costs_no_cpu() -> None:
    with serving(SOURCE) as (served,):
        port = port_to(served, SOURCE, 30.0)
        port.open()
        served.server.half_reply()
        before_s = time.thread_time()
        fault = fault_of(lambda: port.query("VOLT:AC?"))
        assert fault.kind == FaultKind.CLOSED
        assert time.thread_time() - before_s < 1.0  # CPU of this thread; the time-out is 30 s
        assert not port.is_open


def test_a_cut_link_is_told_by_the_next_message_and_the_port_opens_again_after_it() -> None:
    with serving(SOURCE) as (served,):
        port = port_to(served, SOURCE, 2.0)
        port.open()
        served.loop.do(served.server.cut())
        assert fault_of(lambda: port.query("VOLT:AC?")).kind == FaultKind.CLOSED
        assert fault_of(port.open).kind == FaultKind.REFUSED
        served.loop.do(served.server.restore())
        assert port.open() == part_of(SOURCE).identity.sample
        port.close()


def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next_one() -> None:
    with serving(SOURCE) as (served,):
        port = port_to(served, SOURCE, 2.0)
        port.open()
        port.send("*ESR?")
        port._link.socket.recv(1, socket.MSG_PEEK)  # it has arrived
        fault = fault_of(lambda: port.query("VOLT:AC?"))
        assert fault.kind == FaultKind.PROTOCOL and "nobody asked for" in fault.detail
        assert port.query("VOLT:AC?") == "0.00"
        port.close()


def test_another_number_of_answers_than_asked_for_is_a_protocol_fault() -> None:
    with serving(SOURCE) as (served,):
        port = port_to(served, SOURCE, 2.0)
        port.open()
        fault = fault_of(lambda: port.exchange("OUTP?;FOO?;:OUTP:REL?", ("output", "foo", "relay")))
        assert fault.kind == FaultKind.PROTOCOL and "1 answers, expected 3" in fault.detail
        assert port.drain_errors() == ['-113,"Undefined header"']
        assert port.drain_errors() == []
        port.close()


def test_a_second_thread_may_not_use_the_session() -> None:
    with serving(SOURCE) as (served,):
        port = port_to(served, SOURCE, 2.0)
        port.open()
        kinds: list[FaultKind] = []
        other = threading.Thread(target=lambda: kinds.append(fault_of(lambda: port.query("OUTP?")).kind))
        other.start()
        other.join(30)
        assert kinds == [FaultKind.INTERLOCK]
        port.close()


def test_closing_one_port_leaves_the_other_of_the_process_open() -> None:
    with serving(SOURCE, LOAD) as (source, load):
        first, second = port_to(source, SOURCE, 2.0), port_to(load, LOAD, 2.0)
        first.open()
        second.open()
        first.close()
        assert second.query("INP?") == "0"
        second.close()


def test_answers_are_split_outside_of_quotes_only() -> None:
    assert split_answers('1.0;"a;b";0,"No error"') == ["1.0", '"a;b"', '0,"No error"']


# ---------------------------------------------------------------- the twin's socket, by hand


def lines_of(link: socket.socket, count: int) -> list[bytes]:
    link.settimeout(30.0)
    data = b""
    while data.count(b"\n") < count:
        chunk = link.recv(4096)
        if not chunk:
            break
        data += chunk
    return data.splitlines()


def test_two_clients_share_one_error_queue_and_one_device() -> None:
    with serving(LOAD) as (served,):
        one = socket.create_connection(("127.0.0.1", served.port))
        two = socket.create_connection(("127.0.0.1", served.port))
        with one, two:
            one.sendall(b"SYST:REM;FOO\n*OPC?\n")
            assert lines_of(one, 1) == [b"1"]
            two.sendall(b"SYST:ERR?\r\nSYST:ERR?\n")
            assert lines_of(two, 2) == [b'-113,"Undefined header"', b'0,"No error"']


def test_slow_bytes_pipelined_lines_and_a_reply_that_nobody_reads() -> None:
    with serving(LOAD) as (served,), socket.create_connection(("127.0.0.1", served.port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"*OP":
            link.sendall(bytes([byte]))
        link.sendall(b"C?\nINP?\n*ESR?\nSYST:ERR?\n")
        assert lines_of(link, 4) == [b"1", b"0", b"128", b'0,"No error"']


def test_a_partial_line_and_a_drop_are_not_executed_and_hurt_nobody() -> None:
    with serving(LOAD) as (served,):
        link = socket.create_connection(("127.0.0.1", served.port))
        link.sendall(b"SYST:REM\nCURR 9")
        link.close()
        with socket.create_connection(("127.0.0.1", served.port)) as after:
            after.sendall(b"CURR?\n")
            assert lines_of(after, 1) == [b"0.000000E+00"]


def test_more_clients_than_the_device_takes_are_turned_away() -> None:
    with serving(LOAD) as (served,):
        most = part_of(LOAD).transport.max_clients
        links = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(most)]
        try:
            for link in links:
                link.sendall(b"*OPC?\n")
                assert lines_of(link, 1) == [b"1"]
            with socket.create_connection(("127.0.0.1", served.port)) as extra, pytest.raises(ConnectionError):
                extra.settimeout(30.0)
                extra.sendall(b"*OPC?\n")
                if extra.recv(16) == b"":
                    raise ConnectionResetError
        finally:
            for link in links:
                link.close()


def test_an_idle_socket_is_closed_where_the_device_does_that() -> None:
    with serving(LOAD) as (served,):
        served.stop()
        served.server._transport = part_of(LOAD).transport.model_copy(update={"idle_close_s": 0.05})
        served.port = served.loop.do(served.server.start())
        with socket.create_connection(("127.0.0.1", served.port)) as link:
            link.settimeout(30.0)
            assert link.recv(16) == b""


def test_a_device_may_be_slow_while_it_is_opened_and_is_given_its_own_time_once_it_has_to_hurry() -> None:
    with serving(SOURCE) as (served,):
        served.tap = lambda message: time.sleep(0.3)
        assert fault_of(port_to(served, SOURCE, 0.1).open).kind == FaultKind.TIMEOUT
        port = ScpiPort("dut", part_of(SOURCE), served.address, timeout_s=0.1, opening_s=20.0)
        assert port.open() == part_of(SOURCE).identity.sample
        assert port.query("*IDN?") == port.identity
        port.hurry()
        assert "no answer within 0.1 s; opening it anew failed" in fault_of(lambda: port.query("*IDN?")).detail
        assert not port.is_open
