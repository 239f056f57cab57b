"""Hold every SunSpec model that we know to its definition by others, and let their client scan our twin of it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sunspec2
from modbus_helpers import FakeClock, serving
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from hil.twins.sunspec import SunSpecTwin
from instruments.sunspec import SunSpec
from instruments.sunspec_points import MODELS, UNKNOWN

DEFINED = Path(sunspec2.__file__).parent / "models" / "json"
KNOWN = (201, 202, 203, 204, *range(701, 714))
COUNTS = {"NPt": 3.0, "NCrv": 2.0, "NCrvSet": 2.0, "NCtl": 2.0}


def rows(group: dict[str, Any], at: list[int], prefix: str = "") -> Iterator[tuple[str, int, str, str, str]]:
    """Yield (name, offset, type, scale, access) of a definition, with groups repeated by COUNTS."""
    for point in group["points"]:
        if point["name"] not in ("ID", "L"):
            kind = point["type"] + (str(point["size"]) if point["type"] == "string" else "")
            yield prefix + point["name"], at[0], kind, str(point.get("sf") or ""), point.get("access", "R").lower()
        at[0] += point["size"]
    for inner in group.get("groups", []):
        count = inner.get("count")
        for k in range(1, 1 + (1 if count is None else round(COUNTS[count]))):
            name = inner["name"] if count is None else f"{inner['name']}[{k}]"
            yield from rows(inner, at, f"{prefix}{name}.")


def test_these_models_are_known():
    assert tuple(MODELS) == KNOWN


@pytest.mark.parametrize("model", KNOWN)
def test_our_model_lies_as_the_definition_says(model):
    group = json.loads((DEFINED / f"model_{model}.json").read_text())["group"]
    at = [0]
    expected = list(rows(group, at))
    ours = MODELS[model].points(COUNTS).values()
    assert [(p.name, p.offset, p.type, p.scale, p.access) for p in ours] == expected
    assert MODELS[model].registers(COUNTS) == at[0]


def played(model: int) -> dict[str, float]:
    """Return a value for every number of a model, told apart by where it lies; scale factors 0, groups by COUNTS."""
    numbers = [p for p in MODELS[model].points(COUNTS).values() if not p.is_text]
    return {
        p.name: COUNTS.get(p.name, 0.0 if p.type == "sunssf" else float((p.offset * 7 + model) % 1000 + 1))
        for p in numbers
    }


def scanned(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name as we write it, raw value) of what pysunspec2 read."""
    for name, point in group.points.items():
        yield prefix + name, point.value
    for name, inner in group.groups.items():
        several = isinstance(inner, list)
        for k, one in enumerate(inner if several else [inner], start=1):
            yield from scanned(one, f"{prefix}{name}[{k}]." if several else f"{prefix}{name}.")


def test_their_client_and_ours_scan_one_twin_of_all_models():
    values = {model: played(model) for model in KNOWN}

    def scan(port: int) -> dict[int, dict[str, Any]]:
        device = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=30)
        try:
            device.scan()
            return {model: dict(scanned(device.models[model][0])) for model in KNOWN}
        finally:
            device.close()

    async def story() -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, float]]]:
        twin = SunSpecTwin(values, FakeClock().seconds)
        async with serving(twin) as port:
            theirs = await asyncio.to_thread(scan, port)
            client = SunSpec("all", f"modbus+tcp://127.0.0.1:{port}")
            assert await client.open() == list(KNOWN)
            ours = {model: await client.read(model) for model in KNOWN}
            client.close()
        return theirs, ours

    theirs, ours = asyncio.run(story())
    for model in KNOWN:
        assert ours[model] == values[model], model
        for name, value in values[model].items():
            assert theirs[model][name] == value, (model, name)


def test_a_value_that_is_not_implemented_has_the_code_that_others_know():
    from sunspec2 import mb

    assert {kind: getattr(mb, f"SUNS_UNIMPL_{kind.upper()}") for kind in UNKNOWN} == UNKNOWN


def with_curves(story) -> Any:
    """Run `story(client, clock)` on a volt-watt device of three curves, the first read-only and in force."""
    values = {"NPt": 2.0, "NCrv": 3.0, "V_SF": -1.0, "DeptRef_SF": 0.0, "Ena": 1.0, "AdptCrvReq": 0.0,
              "AdptCrvRslt": 1.0, "RvrtTms": 0.0, "RvrtRem": 0.0, "RvrtCrv": 3.0}  # fmt: skip
    for k, watts in enumerate((100.0, 60.0, 0.0), start=1):
        values |= {f"Crv[{k}].ReadOnly": float(k == 1), f"Crv[{k}].ActPt": 2.0}
        values |= {f"Crv[{k}].Pt[1].V": 105.0, f"Crv[{k}].Pt[1].W": 100.0, f"Crv[{k}].Pt[2].V": 110.0}
        values |= {f"Crv[{k}].Pt[2].W": watts}

    async def run() -> Any:
        clock = FakeClock()
        async with serving(SunSpecTwin({706: values}, clock.seconds)) as port:
            client = SunSpec("pv", f"modbus+tcp://127.0.0.1:{port}")
            await client.open()
            try:
                return await story(client, clock)
            finally:
                client.close()

    return asyncio.run(run())


def test_a_curve_is_adopted_by_its_number_and_falls_back_in_time():
    async def story(client, clock):
        seen = []
        await client.write(706, "Crv[2].Pt[2].W", 55.0)
        for request in (2.0, 9.0):
            await client.write(706, "AdptCrvReq", request)
            seen.append(tuple((await client.read(706, "AdptCrvRslt", "Crv[1].Pt[2].W")).values()))
        await client.write(706, "RvrtTms", 30.0)
        clock.now_s += 31.0
        seen.append(tuple((await client.read(706, "RvrtRem", "Crv[1].Pt[2].W")).values()))
        return seen

    assert with_curves(story) == [(1.0, 55.0), (2.0, 55.0), (0.0, 0.0)]


def test_the_curve_in_force_takes_no_writes():
    from instruments.faults import FaultKind, PortFault

    async def story(client, clock):
        with pytest.raises(PortFault) as caught:
            await client.write(706, "Crv[1].Pt[2].W", 1.0)
        return caught.value.kind

    assert with_curves(story) is FaultKind.REJECTED
