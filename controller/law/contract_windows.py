"""Step 5, contract: the limits of windows and calls.

A row binds a charger or a node, in amps per phase or watts over all phases, between two times of the local day,
issued early by its lead time; it begins on the days of the week and of the calendar that it names. A calendar is a bit
a day, made with the plan from seasons, dates and holidays; on a day outside it the limit holds. Where summer time
begins or ends within the lead time, the start is looked for by the offset that holds then.

A call takes the place of the row's own watts from its start, less the lead time, to its end. A call that reads NaN is
the last one known; it ends by its own time. Rows combine by the lowest.
"""

import math

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason, Step

WINDOW, ORDER = int(Reason.WINDOW), int(Reason.ORDER)
CONTRACT = int(Step.CONTRACT)
DAY_NS = 86_400_000_000_000
DAY_S = 86_400.0
THURSDAY = 3  # the weekday of 1970-01-01, Monday 0
WATTS = 3


@kernel
def begins(day: int, days: int, calendar: int, calendar_day: int, calendar_bits: Array) -> bool:
    """Say whether a row begins on a local day, counted from 1970-01-01."""
    if (days >> ((day + THURSDAY) % 7)) & 1 == 0:
        return False
    k = day - calendar_day
    if calendar < 0 or k < 0 or k >= 8 * calendar_bits.shape[1]:
        return True
    return (int(calendar_bits[calendar, k // 8]) >> (k % 8)) & 1 == 1


@kernel
def is_open(
    local_ns: int,
    early_s: float,
    start_s: float,
    length_s: float,
    days: int,
    calendar: int,
    calendar_day: int,
    calendar_bits: Array,
) -> bool:
    """Say whether a row is open, from `early_s` before its start on, at a local time in ns since 1970-01-01."""
    day = local_ns // DAY_NS
    second = (local_ns - day * DAY_NS) * 1e-9
    for shift in range(-1, 2):  # a window of yesterday may still be open, one of tomorrow is issued early
        start = start_s + shift * DAY_S
        if second < start - early_s or second >= start + length_s:
            continue
        if begins(day + shift, days, calendar, calendar_day, calendar_bits):
            return True
    return False


@Stage
def windows(
    utc_ns: Array,
    utc_offset_s: Array,
    utc_offset_next_s: Array,
    utc_change_ns: Array,
    window_call_w: Array,
    window_call_from_s: Array,
    window_call_to_s: Array,
    window_charger: Array,
    window_node: Array,
    window_from_s: Array,
    window_to_s: Array,
    window_days: Array,
    window_calendar: Array,
    calendar_day: Array,
    calendar_bits: Array,
    window_a: Array,
    window_w: Array,
    window_export_w: Array,
    window_lead_s: Array,
    call_held_w: Array,
    call_held_from_s: Array,
    call_held_to_s: Array,
    volts_v: Array,
    node_cap: Array,
    node_cap_why: Array,
    window_cap_w: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    low_a: Array,
    low_why: Array,
    node_back_cap: Array,
    node_back_why: Array,
    chain: Array,
    node_cap_w: Array,
) -> None:
    """Lower nodes and chargers to the windows and calls in force; the source of a charger's limit is the row."""
    utc_s = utc_ns[0] * 1e-9
    local_ns = utc_ns[0] + int(utc_offset_s[0] * 1e9)
    ahead_ns = utc_change_ns[0] - utc_ns[0]
    for i in range(cap_a.shape[0] if window_a.shape[0] > 0 else 0):
        window_cap_w[i] = math.inf
    for w in range(window_a.shape[0]):
        lead_s, start, length = window_lead_s[w], window_from_s[w], window_to_s[w] - window_from_s[w]
        if length <= 0.0:
            length += DAY_S
        days, calendar = int(window_days[w]), int(window_calendar[w])
        opened = is_open(local_ns, lead_s, start, length, days, calendar, calendar_day[0], calendar_bits)
        if not opened and 0 < ahead_ns <= int(lead_s * 1e9):  # by the clock as it will be, at the end of the lead time
            then_ns = utc_ns[0] + int((utc_offset_next_s[0] + lead_s) * 1e9)
            opened = is_open(then_ns, 0.0, start, max(length, lead_s), days, calendar, calendar_day[0], calendar_bits)
        if not math.isnan(window_call_w[w]):
            call_held_w[w] = max(window_call_w[w], 0.0)
            call_held_from_s[w] = window_call_from_s[w]
            call_held_to_s[w] = window_call_to_s[w]
        begun = not utc_s < call_held_from_s[w] - lead_s  # true on NaN: at once
        called = call_held_w[w] < math.inf and begun and not utc_s >= call_held_to_s[w]
        if not (opened or called):
            continue
        code = ORDER if called else WINDOW
        watts, export = window_w[w], window_export_w[w]
        if called and export < math.inf:
            export = call_held_w[w]
        elif called:
            watts = call_held_w[w]
        m, i = window_node[w], window_charger[w]
        if m >= 0:
            for p in range(3):
                if window_a[w] < node_cap[m, p]:
                    node_cap[m, p] = window_a[w]
                    node_cap_why[m, p] = code
            if watts < node_cap[m, WATTS]:
                node_cap[m, WATTS] = watts
                node_cap_why[m, WATTS] = code
            if export < node_back_cap[m, WATTS]:
                node_back_cap[m, WATTS] = max(export, 0.0)
                node_back_why[m, WATTS] = code
        elif i >= 0:
            window_cap_w[i] = min(window_cap_w[i], watts)
            limit = min(window_a[w], watts / volts_v[i] if volts_v[i] > 0.0 else 0.0)
            if limit < cap_a[i]:
                cap_a[i] = limit
                reason[i] = WINDOW
                reason_a[i] = limit
                reason_node[i] = w
            low = -max(export, 0.0) / volts_v[i] if volts_v[i] > 0.0 else 0.0
            if low > low_a[i]:
                low_a[i] = low
                low_why[i] = WINDOW
    for i in range(cap_a.shape[0]):
        chain[i, CONTRACT] = cap_a[i]
    for m in range(node_cap_w.shape[0]):
        node_cap_w[m] = node_cap[m, WATTS]
