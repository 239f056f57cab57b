"""The server for a control room as a process: read over a secured channel, given orders, killed and started anew."""

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from asyncua import Client, ua
from foreseeable import wait_for
from opcua_pairs import pair, trusts

from controller.law import image
from controller.law.names import Alarm, Reason
from controller.runtime import stores
from controller.runtime.control_room import listens_on, order_of
from controller.runtime.control_room_view import SCAN_SILENT, SHOWN, alarms, places, values
from controller.runtime.events import Events, read_events
from controller.runtime.opcua_keys import OpcuaServerPort
from controller.runtime.order_image import BookImage
from controller.runtime.processes import controller_processes
from controller.runtime.site import Site
from controller.runtime.supervisor import Supervisor
from controller.runtime.window import Window
from instruments.opcua_accounts import account_line
from instruments.opcua_channel import secure
from instruments.opcua_controller import URI, OrderCall
from instruments.opcua_security import OpcuaSecurity

NULL = datetime(1601, 1, 1)
SEEN = {
    "Chargers/AllowedA": [16.0, 7.0, 0.0],
    "Chargers/Reason": ["WISH", "HEADROOM", "NO_CAR"],
    "Chargers/ReasonNode": ["", "head", ""],
    "Tree/transformer/head/cp1/AllowedA": 7.0,
}
PASSWORDS = {"dso1": "dso", "eye": "viewer"}


@pytest.fixture
def tree(site):
    """Let cp1 stand below the head, and that below the transformer."""
    plan_bytes, plan = image.allocate("plan", site.image_dims())
    plan.parent[1] = 0
    plan.charger_node[1] = 1
    plan_bytes.tofile(site.store("plan.bin"))
    return site


def scanned(site: Site) -> None:
    """Publish a scan as the scan process would: cp1 held to 7 A by the head, the brake acting."""
    dims = site.image_dims()
    buffer, inp = image.allocate("input", dims)
    inp.utc_ns[:] = time.monotonic_ns() + site.utc_minus_mono_ns
    inp.charger_a[:] = np.arange(9.0).reshape(3, 3)
    stores.attach(site, "latched.img").write(buffer, time.monotonic_ns())
    buffer, out = image.allocate("output", dims)
    out.allowed_a[:] = (16.0, 7.0, 0.0)
    out.reason[:] = (Reason.WISH, Reason.HEADROOM, Reason.NO_CAR)
    out.reason_node[:] = (-1, 1, -1)
    out.alarm[:] = Alarm.BRAKE
    stores.attach(site, "output.img").write(buffer, time.monotonic_ns())


def serving(site: Site, folder: Path) -> tuple[Site, OpcuaSecurity]:
    """Return the site with a secured server for two users, and the pair of a client that it trusts."""
    ours, room = pair(folder, "ours"), pair(folder, "room")
    trusts(ours, room)
    trusts(room, ours)
    users = folder / "users"
    users.write_text("".join(account_line(name, duty, f"{name}!") + "\n" for name, duty in PASSWORDS.items()))
    users.chmod(0o600)
    keys = {"certificate": ours.certificate, "key": ours.key, "trust": ours.trust}
    port = OpcuaServerPort(**keys, port=0, users=str(users), rate_hz=4.0)
    made = site.model_copy(update={"opcua": port})
    stores.prepare(made)
    (folder / "site.json").write_text(made.model_dump_json())
    return made, room


async def connected(site: Site, room: OpcuaSecurity, user: str) -> tuple[Client, int]:
    client = Client(f"opc.tcp://127.0.0.1:{listens_on(site)}")
    client.set_user(user)
    client.set_password(f"{user}!")
    await secure(client, room, datetime.now(UTC))
    await client.connect()
    return client, await client.get_namespace_index(URI)


def limit_of(order_id: str, sequence: int, limit_w: float) -> list[ua.Variant]:
    """Return the arguments of SetLimit on the head, at once and until withdrawn."""
    texts = [
        ua.Variant(order_id),
        ua.Variant(sequence, ua.VariantType.UInt32),
        ua.Variant("head"),
        ua.Variant("import"),
    ]
    return texts + [ua.Variant(limit_w, ua.VariantType.Double)] + 2 * [ua.Variant(NULL, ua.VariantType.DateTime)]


async def read_and_order(site: Site, room: OpcuaSecurity) -> None:
    """Read what is shown, give an order as the DSO, and be refused one as a viewer."""
    dso, index = await connected(site, room, "dso1")
    eye, _ = await connected(site, room, "eye")
    try:
        scanned(site)
        for path, wanted in SEEN.items():
            node = eye.get_node(ua.NodeId(f"Controller/{path}", index))
            found = None
            for _ in range(600):  # it shows what is new some times a second
                found = (await node.read_data_value(raise_on_bad_status=False)).Value.Value
                if found == wanted:
                    break
                await asyncio.sleep(0.05)
            assert (path, found) == (path, wanted)
        orders = ua.NodeId("Controller/Orders", index)
        method = ua.NodeId("Controller/Orders/SetLimit", index)
        assert await dso.get_node(orders).call_method(method, *limit_of("o1", 1, 40_000.0)) == [True, True, ""]
        steer, driven = ua.NodeId("Controller/Orders/SetPoint", index), limit_of("o4", 1, -3_000.0)
        driven[2:4] = [ua.Variant(site.charger_names[1])]
        assert await dso.get_node(orders).call_method(steer, *driven) == [True, True, ""]
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await eye.get_node(orders).call_method(steer, *driven)
        refused = await dso.get_node(orders).call_method(method, *limit_of("o1", 0, 90_000.0))
        assert refused[:2] == [False, False]
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await eye.get_node(orders).call_method(method, *limit_of("o2", 1, 0.0))
        with pytest.raises(ua.UaStatusCodeError, match="BadInvalidArgument"):
            await dso.get_node(orders).call_method(method, *limit_of("o3", 1, 0.0)[::-1])
    finally:
        await dso.disconnect()
        await eye.disconnect()


def test_a_control_room_reads_and_orders_and_its_server_may_die_freely(tree, tmp_path):
    made, room = serving(tree, tmp_path)
    events = Events(Path(made.run_dir) / "events.jsonl", "supervisor")
    specs = {spec.name: spec for spec in controller_processes(tmp_path / "site.json", made)}
    book = image.allocate("input", made.image_dims())[1]

    def serves(times: int) -> bool:
        assert supervisor.check() is None
        return sum(e["kind"] == "opcua_serves" for e in read_events(events.path)) == times

    with Supervisor(Path(made.run_dir), events) as supervisor:
        assert supervisor.start([specs["orders"], specs["control_room"]]) is None
        wait_for(lambda: serves(1))
        asyncio.run(read_and_order(made, room))
        os.kill(supervisor.children[1].process.pid, signal.SIGKILL)
        wait_for(lambda: serves(2))
        asyncio.run(read_and_order(made, room))
        BookImage(made).latch(book)
        assert book.book_w.tolist() == [np.inf, 40_000.0]
        assert book.wish_w.tolist() == [np.inf, -3_000.0, np.inf]
        assert supervisor.check() is None
    ended = [e for e in read_events(events.path) if e["kind"] == "ended" and e["name"] == "control_room"]
    assert [e["code"] for e in ended] == [-signal.SIGKILL, 0]
    events.close()


def test_every_array_has_a_row_of_its_table_and_the_tree_follows_the_plan(tree):
    window = Window(tree)
    scanned(tree)
    window.refresh()
    found = values(window)
    assert set(found) == {shown.quantity.path for shown in SHOWN}
    lengths = {"State": {1}, "Chargers": {3, 9}, "Nodes": {2, 6}}
    assert all(len(row) in lengths[path.partition("/")[0]] for path, row in found.items())
    assert ("transformer", "head") in [place.path for place in places(window)]


def test_a_silent_scan_is_an_alarm_and_what_is_shown_is_old(site):
    window = Window(site)
    scanned(site)
    window.refresh()
    now_ns = time.monotonic_ns()
    assert set(alarms(window, now_ns)) == {"BRAKE"}
    assert set(alarms(window, now_ns + 5_000_000_000)) == {"BRAKE", SCAN_SILENT}


def test_an_order_carries_its_user_as_the_source_and_what_it_says():
    order = order_of(OrderCall("dso1", "o1", 3, node="head", limit_w=5.0))
    assert (order.source, order.order_id, order.sequence, order.kind) == ("opcua:dso1", "o1", 3, "cap")
    assert (order.subject, order.direction, order.value_w) == ("head", "import", 5.0)
    assert order_of(OrderCall("dso1", "o1", 4, withdraw=True)).kind == "withdraw"
    steered = order_of(OrderCall("dso1", "o2", 1, steers=True, node="csc_a", limit_w=-5.0))
    assert (steered.kind, steered.subject, steered.value_w) == ("setpoint", "csc_a", -5.0)
