"""The controller's CSMS against a charge point of others: npm's ocpp-rpc in strict mode, by its own schemas."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ocpp", reason="the extra ocpp is not installed")
pytest.importorskip("websockets", reason="the extra ocpp is not installed")

from csms_helpers import IDENTITY, bench, quick, until
from foreign_node import node

POINT = Path(__file__).parent / "foreign_point.js"


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
def test_ocpp_rpc_in_strict_mode_finds_nothing_wrong_and_is_read_back(version: str) -> None:
    said: list[dict[str, Any]] = []

    def kinds(*names: str) -> list[dict[str, Any]]:
        return [each for each in said if each["kind"] in names]

    async def read(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            said.append(json.loads(line))  # noqa: PERF401 - read while they come

    async def play() -> None:
        async with bench(quick(version), failsafe_s=60.0) as here:
            point = await asyncio.create_subprocess_exec(
                node(), str(POINT), here.csms.url, IDENTITY, version, stdout=asyncio.subprocess.PIPE
            )
            assert point.stdout is not None
            reader = asyncio.create_task(read(point.stdout))
            reading = here.charger.reading
            try:
                for want_a in (16.0, 9.0, 0.0):
                    here.want_a = want_a
                    here.charger.wake()
                    await until(lambda: reading.limit_a == here.want_a, f"{want_a:g} A in the composite schedule")
                    await until(lambda: (reading.amp_a == here.want_a).all(), f"{want_a:g} A drawn")
                assert reading.quality == 0 and reading.volt_v.tolist() == [231.0] * 3
            finally:
                point.kill()
                await point.wait()
                await reader
            await until(lambda: not here.charger.reading.link, "a killed point is a lost link")

    asyncio.run(play())
    assert kinds("broken", "failed") == []
    assert [each["status"] for each in kinds("boot")] == ["Accepted"]
    assert len(kinds("transaction")) == 1
    methods = {each["method"] for each in kinds("call")}
    assert {"SetChargingProfile", "GetCompositeSchedule"} <= methods
