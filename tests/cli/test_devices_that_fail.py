"""A port in use, a device that is another one, an address where nobody is: exit 3, and the device is named."""

import asyncio
import contextlib
import copy
import socket
import threading

import pytest
from modbus_helpers import FakeClock, FakeView, make_twin

from controller.runtime.events import read_events
from instruments.catalog import load_model


@pytest.fixture
def rig(hamlet):
    return copy.deepcopy(hamlet)


@pytest.fixture
def taken_port():
    """Return a port on which this test listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def unused_port():
    """Return a port that is bound and never listens: nobody else gets it, and connections are refused."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


@contextlib.contextmanager
def served(model):
    """Serve a charger's twin from a thread and return its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    twin = make_twin(load_model(model), FakeView(), FakeClock().seconds)
    try:
        yield asyncio.run_coroutine_threadsafe(twin.start(), loop).result(10)
        asyncio.run_coroutine_threadsafe(twin.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def real(charger, port):
    """Point a charger of the rig at an address on this machine."""
    charger.update(twin=False, real=f"modbus+tcp://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("command", "place"),
    [(("run", "--for", "3s"), "charger"), (("emulate", "--json"), "source"), (("check",), "substation")],
)
def test_a_port_in_use_is_named_with_its_device(rig, write_rig, run_voltbench, taken_port, tmp_path, command, place):
    device = {"charger": rig["charger"][0], "source": rig["bench"]["source"], "substation": rig["substation"]}[place]
    device["port"] = taken_port
    ended = run_voltbench(command[0], write_rig(rig), *command[1:], cwd=tmp_path)
    assert ended.returncode == 3, ended.stderr
    told = (ended.stderr + ended.stdout).replace("\n", " ")
    assert f"{device['name']}: port {taken_port} on 127.0.0.1 is in use; end what listens there" in told
    assert "Traceback" not in told


def test_check_names_every_device_that_is_another_or_not_there(rig, write_rig, run_voltbench, unused_port):
    real(rig["charger"][1], unused_port)
    with served("keba-p40") as port:
        real(rig["charger"][0], port)
        ended = run_voltbench("check", write_rig(rig))
    assert ended.returncode == 3
    lines = ended.stdout.splitlines()
    (other,) = [line for line in lines if "wrong identity" in line]
    (absent,) = [line for line in lines if "refused" in line]
    assert other.startswith("cp01:")
    assert "correct model or address in the rig" in other
    assert absent.startswith("cp08")
    assert "check power, address and port" in absent
    assert "5 of 7 devices answered as their catalog says" in ended.stdout


def test_run_names_a_device_of_another_family_and_switches_nothing_on(rig, write_rig, run_voltbench, tmp_path):
    with served("keba-p40") as port:
        real(rig["charger"][0], port)
        ended = run_voltbench("run", write_rig(rig), "--for", "3s", "--out", tmp_path / "run")
    assert ended.returncode == 3, ended.stderr
    assert "cp01:" in ended.stderr
    assert "wrong identity" in ended.stderr
    ends = [event for event in read_events(tmp_path / "run" / "events.jsonl") if event["kind"] == "plant_ended"]
    assert [event["devices"] for event in ends] == [{"grid_source": False, "car_load": False}]


def test_run_names_an_address_where_nobody_listens(rig, write_rig, run_voltbench, tmp_path, unused_port):
    real(rig["charger"][0], unused_port)
    ended = run_voltbench("run", write_rig(rig), "--for", "3s", cwd=tmp_path)
    assert ended.returncode == 3
    assert any("cp01" in line and "refused" in line for line in ended.stderr.splitlines())
    assert "Traceback" not in ended.stderr
