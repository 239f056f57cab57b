"""Record a device, play it back to the driver, and be told of the first byte that differs."""

import sys
from pathlib import Path
from typing import Any

import pytest
from replay import expected_protocol
from scpi_helpers import Clock, Loop, Served

from hil.twins.scpi_twins import make_twin
from instruments import scpi_record
from instruments.ac_source import AcSource
from instruments.catalog import all_models, load_model
from instruments.dc_supply import DcSupply
from instruments.faults import FaultKind, PortFault
from instruments.scpi_port import ScpiPort
from instruments.scpi_record import RecordingPort, queries_of, read_protocol

DRIVEN = [m for m in all_models() if m.scpi is not None and not m.model.undriven and m.scpi.transport.kind == "socket"]


@pytest.fixture
def loop() -> Any:
    loop = Loop()
    yield loop
    loop.close()


def session(port: ScpiPort) -> list[float]:
    """Do with a Sorensen supply what a bench does, and return what it measured."""
    supply = DcSupply(port, hard_max_v=60.0, hard_max_a=20.0, clock_s=Clock(), pause=lambda s: None)
    supply.prepare()
    supply.set_and_measure(0.0, 0.0)
    supply.output(True)
    seen = supply.set_and_measure(48.0, 10.0)
    supply.release()
    return [seen.volt_v, seen.amp_a]


def recorded(loop: Loop, path: Path, model: str = "sorensen-sg") -> list[float]:
    part = load_model(model).scpi
    assert part is not None
    served = Served(loop, make_twin(part, Clock()))
    with path.open("w", encoding="utf-8") as file:
        port = RecordingPort("dut", part, served.address, model, file, timeout_s=2.0)
        port.open()
        seen = session(port)
        port.close()
    served.stop()
    return seen


def test_what_was_recorded_plays_back_to_the_same_driver_byte_for_byte(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "sorensen.jsonl"
    seen = recorded(loop, path)
    protocol = read_protocol(path)
    assert protocol.model == "sorensen-sg" and protocol.identity.startswith("Sorensen, SGA")
    assert protocol.exchanges[0].send == "*IDN?"
    assert [e.send for e in protocol.exchanges if "OUTP:STAT" in e.send and "?" not in e.send] == [
        "OUTP:STAT OFF", "OUTP:STAT ON", "OUTP:STAT OFF",
    ]  # fmt: skip
    with expected_protocol(protocol) as port:
        assert session(port) == seen


def test_a_driver_that_says_something_else_is_told_by_the_bytes(loop: Loop, tmp_path: Path) -> None:
    recorded(loop, tmp_path / "a.jsonl")
    protocol = read_protocol(tmp_path / "a.jsonl")
    told = r"heard b'SOUR:VOLT:PROT 50.000', recorded b'SOUR:VOLT:PROT 60.000'"
    with pytest.raises(AssertionError, match=told), expected_protocol(protocol) as port:
        DcSupply(port, hard_max_v=50.0, hard_max_a=20.0, pause=lambda s: None).prepare()
    with pytest.raises(AssertionError, match="never said"), expected_protocol(protocol) as port:
        assert port.identity == protocol.identity


def test_the_file_is_whole_up_to_the_moment_of_a_fault(loop: Loop, tmp_path: Path) -> None:
    part = load_model("chroma-61500").scpi
    assert part is not None
    served = Served(loop, make_twin(part, Clock()))
    with (tmp_path / "b.jsonl").open("w", encoding="utf-8") as file:
        port = RecordingPort("dut", part, served.address, "chroma-61500", file, timeout_s=1.0)
        port.open()
        AcSource(port, phases=1, hard_max_v=250.0, hard_max_a=16.0, pause=lambda s: None).prepare()
        served.server.lose_reply()
        with pytest.raises(PortFault) as caught:
            port.query("VOLT:AC?")
        assert caught.value.kind is FaultKind.TIMEOUT
        last = read_protocol(tmp_path / "b.jsonl").exchanges[-1]
        assert (last.send, last.reply, last.fault) == ("VOLT:AC?", None, "timeout")
        port.close()
    served.stop()


@pytest.mark.parametrize("model", DRIVEN, ids=lambda model: model.model.name)
def test_a_survey_asks_every_query_and_sets_nothing(model: Any, loop: Loop, tmp_path: Path) -> None:
    part = model.scpi
    quick = [way.model_copy(update={"min_gap_s": 0.0, "reply_s": 0.0}) for way in part.transports]
    served = Served(loop, make_twin(part.model_copy(update={"transports": quick}), Clock()))
    before = dict(served.twin.values)
    path = tmp_path / "c.jsonl"
    assert scpi_record.main([model.model.name, served.address, str(path)]) == 0
    asked = [exchange.send for exchange in read_protocol(path).exchanges]
    assert set(queries_of(part)) <= set(asked) and all("?" in message for message in asked)
    assert served.twin.values == before
    served.stop()


def test_a_survey_tells_what_the_device_does_not_know(loop: Loop, tmp_path: Path, capsys: Any) -> None:
    part = load_model("itech-it7900").scpi
    assert part is not None
    quantities = {name: q for name, q in part.quantities.items() if name != "peak_limit_a"}
    served = Served(loop, make_twin(part.model_copy(update={"quantities": quantities}), Clock()))
    twin_part = served.twin.part
    assert "peak_limit_a" not in twin_part.quantities
    port = ScpiPort("dut", part, served.address, timeout_s=1.0)
    port.open()
    refused = scpi_record.survey(port, ["VOLT?", "CURR:PROT:PEAK?", "FREQ?"])
    assert [query for query, _ in refused] == ["CURR:PROT:PEAK?"]
    port.close()
    served.stop()


@pytest.mark.parametrize("text", ["", "{}", "nonsense", '{"version": 1, "model": "x", "identity": "y"}\n{"sent": "a"}'])
def test_a_file_that_is_no_protocol_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.jsonl"):
        read_protocol(path)


def test_wrong_arguments_of_the_survey_end_with_2_and_a_dead_address_with_3(tmp_path: Path) -> None:
    new = str(tmp_path / "d.jsonl")
    assert scpi_record.main(["no-such", "TCPIP::127.0.0.1::1::SOCKET", new]) == 2
    assert scpi_record.main(["keba-p30", "TCPIP::127.0.0.1::1::SOCKET", new]) == 2
    assert scpi_record.main(["sorensen-sg", "TCPIP::127.0.0.1::1::SOCKET", new]) == 3
    assert scpi_record.main(["sorensen-sg", "TCPIP::127.0.0.1::1::SOCKET", new]) == 2  # it exists by now
    assert sys.modules["instruments.scpi_record"] is scpi_record
