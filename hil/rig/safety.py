"""Check what a rig file says of the bench's safety: what is real beside what is emulated, hardware protection, relay.

Works on the file as TOML gave it, like the other references.
"""

from typing import Any

from hil.rig.references import Found, Problem, find_model, short, table_of, tables_of, text_of
from hil.rig.schema import BENCH_ROLES

ENERGISING = ("source", "supply")
UNPOWERED = ("adapter", "analyzer")
ASKED = {
    "rcd": 'write its type and residual current, e.g. rcd = "type B 30 mA"',
    "n_pe_bond": 'write where N and PE are joined, e.g. n_pe_bond = "at the isolated source\'s output"',
}


def check_safety(label: str, raw: dict[str, Any]) -> list[Problem]:
    """Return what is missing or cannot be about the bench's safety; `label` names the file."""
    return [Problem(f"{label}:{where}", value, allowed) for where, value, allowed in _found(raw)]


def _found(raw: dict[str, Any]) -> Found:
    bench, safety = table_of(raw, "bench"), table_of(raw, "safety")
    if not bench:
        if table_of(safety, "estop"):
            yield "safety.estop", "", "there is no [bench] that it could cut; remove it"
        return
    yield from _check_mixed(raw, bench)
    if any("real" in table_of(bench, key) for key in BENCH_ROLES if key not in UNPOWERED):
        yield from _check_hardware(safety)
    yield from _check_estop(bench, table_of(safety, "estop"))


def _check_mixed(raw: dict[str, Any], bench: dict[str, Any]) -> Found:
    """Refuse a wire between an emulated and a real device: volts and amps do not cross a socket."""
    parts = {f"bench.{key}": table_of(bench, key) for key in BENCH_ROLES}
    for k, charger in enumerate(tables_of(raw, "charger")):
        if text_of(charger, "name") is not None and text_of(charger, "name") == text_of(bench, "charger"):
            parts[f"charger[{k}]"] = charger
    real = [key for key, part in parts.items() if "real" in part]
    emulated = [key for key, part in parts.items() if part.get("twin") is True]
    if real and emulated:
        text = f"one wire joins the bench's devices: {', '.join(emulated)} emulated and {', '.join(real)} real"
        yield "bench", "", f"{text}; make all of them real or all twins"


def _check_hardware(safety: dict[str, Any]) -> Found:
    """Ask once for what protects people: the emergency stop, the RCD and the bond."""
    if safety.get("emergency_stop") is not True:
        value = "false" if safety.get("emergency_stop") is False else ""
        text = "a real instrument energises this bench: it needs a hardware emergency stop that cuts it"
        yield "safety.emergency_stop", value, f"{text}; try it, then write emergency_stop = true"
    for key, advice in ASKED.items():
        given = safety.get(key, "")
        if not (isinstance(given, str) and given.strip()):
            yield f"safety.{key}", "", f"a real instrument energises this bench; {advice}"


def _check_estop(bench: dict[str, Any], estop: dict[str, Any]) -> Found:
    """Check the relay's coil, its channels, and that it belongs to the same world as the source."""
    name = text_of(estop, "model")
    model = None if name is None else find_model(name)[0]
    part = None if model is None else model.relay
    if part is None:
        return
    coil = estop.get("coil", "estop")
    known = [one.name for one in part.coils]
    if coil not in known:
        yield "safety.estop.coil", short(coil), f"{name} has the coils {', '.join(known)}"
    places = estop.get("coils", {})
    if isinstance(places, dict):
        try:
            part.moved(places)
        except ValueError as error:
            yield "safety.estop.coils", "", str(error)
    if ("real" in estop) != any("real" in table_of(bench, key) for key in ENERGISING):
        yield "safety.estop", "", "the relay cuts the supply of the bench's instruments: make both real or both twins"
