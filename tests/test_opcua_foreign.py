"""Another vendor's client (node-opcua) against our servers: read, be denied, order, and recover after a restart.

It runs where node finds `node-opcua-client` (NODE_PATH), and is skipped elsewhere: the library is none of ours.
"""

import asyncio
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from opcua_pairs import pair, trusts

from instruments.opcua_accounts import Accounts
from instruments.opcua_controller import URI, ControllerServer, OrderAnswer, OrderCall, Quantity

SCRIPT = Path(__file__).parent / "opcua_foreign.js"
ALLOWED = "Chargers/AllowedA"


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on this machine")
    if subprocess.run([found, "-e", "require('node-opcua-client')"], capture_output=True, check=False).returncode:
        pytest.skip("node finds no node-opcua-client: npm install it somewhere and set NODE_PATH")
    return found


def test_a_foreign_client_reads_orders_and_recovers_after_a_restart(node, tmp_path):
    ours, room = pair(tmp_path, "ours"), pair(tmp_path, "room")
    trusts(ours, room)
    pem = tmp_path / "room.pem"
    certificate = x509.load_der_x509_certificate(Path(room.certificate).read_bytes())
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    taken: list[OrderCall] = []

    async def take(call: OrderCall) -> OrderAnswer:
        taken.append(call)
        return OrderAnswer(True, True, "")

    def server() -> ControllerServer:
        accounts = Accounts(clear={"dso1": ("dso", "sesame")})
        return ControllerServer([Quantity(ALLOWED, "Double", "A", "may draw")], [], {}, take, accounts, ours)

    async def scene() -> list[dict]:
        served = server()
        port = await served.open("127.0.0.1", 0, "1")
        told = {"endpoint": f"opc.tcp://127.0.0.1:{port}", "certificate": str(pem), "key": room.key}
        told |= {"uri": "urn:test:room", "pki": str(tmp_path / "pki"), "user": "dso1", "password": "sesame"}
        told |= {"namespace": URI, "node": f"Controller/{ALLOWED}", "order": 40_000.0, "retries": 100}
        child = await asyncio.create_subprocess_exec(node, str(SCRIPT), json.dumps(told), stdin=-1, stdout=-1)
        seen: list[dict] = []

        async def listen() -> None:
            async for line in child.stdout:
                if line.startswith(b"{"):
                    seen.append(json.loads(line))  # noqa: PERF401  as they come

        listening = asyncio.create_task(listen())

        async def until(true, amps: float) -> None:
            for _ in range(300):
                await served.publish({ALLOWED: [amps]}, {}, time.time_ns(), fresh=True)
                if true():
                    return
                await asyncio.sleep(0.1)
            raise AssertionError(seen)

        try:
            await until(lambda: {"kind": "changed", "value": [16], "status": "Good"} in seen, 16.0)
            await served.close()
            served = server()
            await served.open("127.0.0.1", port, "1")
            await until(lambda: {"kind": "changed", "value": [17], "status": "Good"} in seen, 17.0)
        finally:
            child.kill()
            await asyncio.gather(child.wait(), listening)
            await served.close()
        return seen

    seen = asyncio.run(scene())
    by_kind = {line["kind"]: line for line in seen}
    assert by_kind["write"]["status"] == "BadUserAccessDenied"
    assert by_kind["order"] == {"kind": "order", "status": "Good", "answer": [True, True, ""]}
    assert [(call.user, call.node, call.limit_w) for call in taken] == [("dso1", "head", 40_000.0)]
    assert "lost" in by_kind
