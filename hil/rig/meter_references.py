"""Check the meters of a rig or site file against the nodes of its tree."""

from collections import Counter
from collections.abc import Mapping, Sequence

from hil.rig.meter_keys import MeterPart, SiteMeter
from hil.rig.references import Found, find_model, near, short
from hil.rig.schema import Rig


def check_meters(
    meters: Sequence[MeterPart | SiteMeter], nodes: Sequence[str], measured: Mapping[str, str] | None = None
) -> Found:
    """Yield what does not fit: an unknown node, two measurements of one, phases twice, an age under two readings.

    `measured` maps a node that something else measures for the law to what that is.
    """
    fed = Counter(part.node for part in meters if part.use == "law")
    for k, part in enumerate(meters):
        key = f"meter[{k}]"
        if part.node not in nodes:
            yield (
                f"{key}.node",
                short(part.node),
                f"no node of this name; {near(part.node, nodes)}nodes: {_some(nodes)}",
            )
        other = (measured or {}).get(part.node)
        if part.use == "law" and (fed[part.node] > 1 or other):
            text = f"{other or 'another meter'} measures {part.node} for the law; "
            yield f"{key}.node", short(part.node), text + 'one may, a further one is use = "evidence"'
        if len(set(part.phase_map)) < len(part.phase_map):
            yield f"{key}.phase_map", short(part.phase_map), "a, b and c once each"
        yield from _unit(key, part)
        if part.max_age_s < 2 * part.read_s:
            text = f"at least twice read_s ({part.read_s:g} s): one lost answer is no fault"
            yield f"{key}.max_age_s", f"{part.max_age_s:g} s", text


def _unit(key: str, part: MeterPart | SiteMeter) -> Found:
    """Yield a unit id that the family does not let be set."""
    model = find_model(part.model)[0]
    if part.unit is None or model is None or model.model.role != "meter":
        return
    try:
        model.at(1, part.unit)
    except ValueError as error:
        yield f"{key}.unit", f"{part.unit}", str(error)


def check_events(rig: Rig) -> Found:
    """Yield the meters that events name and the rig does not have."""
    names = [part.name for part in rig.meter]
    for k, event in enumerate(rig.scenario.events):
        for j, name in enumerate(event.meters):
            if name not in names:
                text = f"no meter of this name; {near(name, names)}give the name of a [[meter]]"
                yield f"scenario.events[{k}].meters[{j}]", short(name), text


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
