"""Work out a composite schedule second by second, from the clauses alone; shares no code with the twin's.

OCPP 1.6 ed. 2 3.13.1 to 3.13.3: for each second list the profiles that say something, keep the highest stack level of
each purpose, let the transaction's replace the default, take the lowest of what is left.
"""

import math

DAY_S = 86_400


def amps_of(profile, second, started):
    """Return (limit, unit, phases, phase to use) that a profile says for one second, or None."""
    if second < profile["from"] or second >= profile["to"]:
        return None
    start = profile["start"]
    if profile["kind"] == "Relative" or start is None:
        start = started
    while profile["kind"] == "Recurring" and start + profile["every"] <= second:
        start += profile["every"]
    if second < start:
        return None
    if profile["duration"] is not None and second >= start + profile["duration"]:
        return None
    said = None
    for at, limit, phases, use in profile["periods"]:
        if second >= start + at:
            said = (limit, profile["unit"], phases, use)
    return said


def second_by_second(profiles, target, begin, seconds, volts, wired, rating, transaction):
    """Return [(amps, phases)] for each second from `begin` on; `transaction` is (id, start) or None."""
    found = []
    for second in range(begin, begin + seconds):
        said = {}
        for profile in profiles:
            if profile["target"] not in (0, target):
                continue
            if profile["purpose"] == "TxProfile" and transaction is None:
                continue
            if profile["tx"] and (transaction is None or profile["tx"] != transaction[0]):
                continue
            value = amps_of(profile, second, begin if transaction is None else transaction[1])
            if value is not None:
                said.setdefault(profile["purpose"], []).append(((profile["level"], profile["target"]), value))
        lead = {purpose: max(values, key=lambda each: each[0])[1] for purpose, values in said.items()}
        if "TxProfile" in lead:
            lead.pop("TxDefaultProfile", None)
        phases = min([wired] + [value[2] for value in lead.values()])
        amps = rating
        for limit, unit, _, _ in lead.values():
            amps = min(amps, limit if unit == "A" else limit / volts / phases)
        found.append((amps, phases))
    return found


def unpacked(profile):
    """Return a twin's profile as the plain table that this module works on."""
    schedule = profile.schedules[0]
    return {
        "target": profile.target,
        "level": profile.stack_level,
        "purpose": str(profile.purpose),
        "kind": str(profile.kind),
        "every": profile.recurrence_s,
        "from": profile.valid_from_s,
        "to": profile.valid_to_s,
        "tx": profile.transaction,
        "unit": schedule.unit,
        "start": None if math.isnan(schedule.start_s) else schedule.start_s,
        "duration": None if math.isinf(schedule.duration_s) else schedule.duration_s,
        "periods": [(p.start_s, p.limit, p.phases, p.phase_to_use) for p in schedule.periods],
    }
