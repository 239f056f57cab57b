"""`voltbench emulate`: one JSON line when all twins listen, every address answers its own protocol, and a clean end."""

import contextlib
import json
import signal
import socket
import struct
import subprocess
from urllib.parse import urlsplit

import pytest
from commandline import ENVIRONMENT, VOLTBENCH

from hil.rig.realtime import SEED, TMPFS
from instruments.catalog import load_model, modbus_of

ROLES = {"charger": 16, "substation": 1, "ac_source": 1, "ac_load": 1, "ev_adapter": 1}


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    """Serve the street and return what the line on stdout says of its devices."""
    argv = [*VOLTBENCH, "emulate", "street", "--json"]
    folder = tmp_path_factory.mktemp("emulate")
    with (folder / "stderr.txt").open("w") as narration:
        process = subprocess.Popen(argv, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=narration)
    try:
        line = process.stdout.readline()
        assert line, (folder / "stderr.txt").read_text()
        answer = json.loads(line)
        assert set(answer) == {"devices"}
        yield answer["devices"]
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=120)
    assert rest == b""  # one line, nothing after it


def ask(address, request, answer_bytes):
    """Send a request to host:port and return the first bytes of its answer."""
    with socket.create_connection(address, timeout=60) as link:
        link.sendall(request)
        found = b""
        while len(found) < answer_bytes:
            part = link.recv(4096)
            assert part, f"{address} ended after {found!r}"
            found += part
        return found


def host_port(url):
    return urlsplit(url).hostname, urlsplit(url).port


def read_register(device, name):
    """Read a register of a device's catalog record with a frame of our own making; return its words."""
    part = modbus_of(load_model(device["model"]))
    register = part.register(name)
    pdu = struct.pack(">BHH", part.read_function, register.address, register.count)
    frame = struct.pack(">HHHB", 7, 0, len(pdu) + 1, register.unit_id) + pdu
    answer = ask(host_port(device["address"]), frame, 9 + 2 * register.count)
    assert struct.unpack(">HHHB", answer[:7]) == (7, 0, 3 + 2 * register.count, register.unit_id)
    assert answer[7:9] == bytes([part.read_function, 2 * register.count])
    return struct.unpack(f">{register.count}H", answer[9:])


def test_every_device_is_there_with_model_role_address_and_unit(devices):
    roles = [device["role"] for device in devices.values()]
    assert {role: roles.count(role) for role in ROLES} == ROLES
    assert all(set(device) == {"model", "role", "address", "unit"} for device in devices.values())
    assert len({device["address"] for device in devices.values()}) == len(devices)
    for device in devices.values():
        form = {
            "substation": "opc.tcp://127.0.0.1:",
            "ac_source": "TCPIP::127.0.0.1::",
            "ac_load": "TCPIP::127.0.0.1::",
        }
        assert device["address"].startswith(form.get(device["role"], "modbus+tcp://127.0.0.1:"))
        assert (device["unit"] is None) == (device["role"] in form)


def test_a_foreign_client_reads_every_charger_and_the_pilot_adapter(devices):
    chargers = [device for device in devices.values() if device["role"] == "charger"]
    for charger in chargers:
        name = next(r.name for r in modbus_of(load_model(charger["model"])).registers if r.quantity == "current_l1_a")
        assert any(read_register(charger, name)), "the cars charge from the start"
    (adapter,) = [device for device in devices.values() if device["role"] == "ev_adapter"]
    registers = modbus_of(load_model(adapter["model"])).registers
    read_register(adapter, next(r.name for r in registers if "r" in r.access))


def test_the_instruments_answer_who_they_are(devices):
    for role, vendor in (("ac_source", b"Chroma"), ("ac_load", b"ITECH")):
        (device,) = [device for device in devices.values() if device["role"] == role]
        _, host, port, _ = device["address"].split("::")
        assert vendor in ask((host, int(port)), b"*IDN?\n", 10)


def test_the_substation_acknowledges_a_hello(devices):
    (device,) = [device for device in devices.values() if device["role"] == "substation"]
    url = device["address"].encode()
    body = struct.pack("<IIIII", 0, 65536, 65536, 0, 0) + struct.pack("<I", len(url)) + url
    hello = b"HELF" + struct.pack("<I", len(body) + 8) + body  # OPC 10000-6, 7.1.2.3
    assert ask(host_port(device["address"]), hello, 8)[:4] == b"ACKF"


@pytest.mark.parametrize("end", ["time", "SIGINT", "SIGTERM"])
def test_it_ends_by_time_or_signal_and_leaves_nothing(serve_voltbench, write_rig, hamlet, tmp_path, end):
    limit = ("--for", "1s") if end == "time" else ()
    process = serve_voltbench("emulate", write_rig(hamlet), "--json", *limit)
    devices = json.loads(process.stdout.readline())["devices"]
    assert len(stores_of(tmp_path)) == 1
    if end != "time":
        process.send_signal(getattr(signal, end))
    assert process.wait(120) == (0 if end == "time" else 130)
    for device in devices.values():
        if device["role"] == "charger":
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(host_port(device["address"]), timeout=60)
    assert stores_of(tmp_path) == []
    assert list(tmp_path.glob("voltbench-*")) == []
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


def stores_of(tmp_path):
    """Return the folders of shared images whose run keeps its files below `tmp_path`: others may run beside us."""
    found = []
    for seed in [*TMPFS.glob(f"voltbench-*/{SEED}"), *tmp_path.glob(f"voltbench-*/{SEED}")]:
        with contextlib.suppress(FileNotFoundError):  # another run's, which ends just now
            if str(tmp_path).encode() in seed.read_bytes():
                found.append(seed.parent)
    return found
