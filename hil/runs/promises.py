"""Declare what a scenario promises (VerdictPlan and its rules) and what a judgement is (Verdict): data only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hil.runs.evidence import Limit

PASSED, FAILED, NOT_EXERCISED, INCONCLUSIVE = "passed", "failed", "not_exercised", "inconclusive"
STATES = (PASSED, FAILED, NOT_EXERCISED, INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold one judgement: value and limit in `unit`, a sentence for people, figures for tools in `detail`."""

    name: str
    state: str
    value: float
    limit: float
    unit: str
    text: str
    detail: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"verdict {self.name}: state {self.state!r}, must be one of {', '.join(STATES)}")

    @property
    def passed(self) -> bool | None:
        """Return True where it passed, False where it failed, None where it proves neither."""
        return {PASSED: True, FAILED: False}.get(self.state)


@dataclass(frozen=True, slots=True)
class WindowRule:
    """Promise that chargers draw at most `limit_a` per phase in a contract window."""

    chargers: tuple[int, ...]
    start_s: float
    limit_a: float
    until_s: float = np.inf


@dataclass(frozen=True, slots=True)
class OrderRule:
    """Promise that the feeder head takes at most `limit_w` after a DSO order; some car must pause for it."""

    at_s: float
    limit_w: float
    until_s: float = np.inf
    needs_pause: bool = True


@dataclass(frozen=True, slots=True)
class CutRule:
    """Promise that a charger whose link is cut falls to its fail-safe amps by itself.

    `fall_s` is the longest fall once its time-out has passed: pilot and car, no write in between.
    """

    charger: int
    at_s: float
    failsafe_s: float
    failsafe_a: float
    fall_s: float
    until_s: float = np.inf


@dataclass(frozen=True, slots=True)
class StaleRule:
    """Promise that nothing rises while a substation value is stale."""

    at_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class SilenceRule:
    """Promise that the feeder head falls to its fail-safe watts when the DSO's heartbeat stops.

    `timeout_s` is how long the controller waits for a beat; the obey time comes on top.
    """

    at_s: float
    timeout_s: float
    limit_w: float
    until_s: float = np.inf


@dataclass(frozen=True, slots=True)
class GuardRule:
    """Promise that an energy guard is obeyed: its limits at the head, its writes answered, its transitions walked.

    `steps` are (s, W) from which a limit is in force, `walked` and `wanted` name transitions, `wrong` answers.
    """

    steps: tuple[tuple[float, float], ...]
    walked: tuple[str, ...]
    wanted: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DimRule:
    """Promise that dimmed groups of chargers keep their floors (W), and that nobody in them starves.

    `turns_s` is the time in which everybody has had a turn: who got nothing is told after that, and not before.
    """

    groups: tuple[tuple[str, tuple[int, ...], float], ...]
    from_s: float
    until_s: float
    turns_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EnvelopeRule:
    """Promise that the chargers `members` behind a connection stay under the envelopes sent, else under `subscribed_w`.

    `sent` are schedules: (s, intervals of (from s, to s, W)), as they went out; one is too old after `max_age_s`.
    """

    name: str
    members: tuple[int, ...]
    sent: tuple[tuple[float, tuple[tuple[float, float, float], ...]], ...]
    subscribed_w: float
    max_age_s: float

    def limit_w(self, t_s: np.ndarray) -> np.ndarray:
        """Return the limit at scenario times, (T,) W: of the newest schedule, else the subscribed capacity."""
        found = np.full(len(t_s), self.subscribed_w)
        starts_s = np.array([sent[0] for sent in self.sent])
        newest = np.searchsorted(starts_s, t_s, side="right") - 1
        for k, (at_s, intervals) in enumerate(self.sent):
            for from_s, to_s, watts in intervals:
                rows = (newest == k) & (t_s >= from_s) & (t_s < to_s)
                aged = t_s[rows] - at_s > self.max_age_s
                found[rows] = np.where(aged, min(watts, self.subscribed_w), watts)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class ContractRule:
    """Promise that a contract's limit holds at each of its measuring points, from its start on.

    `points` are names and chargers, `wiring` (N, 3) the grid phase of each terminal, `limit_at` returns the limit at
    (T,) UTC times; it counts `late_s` after a fall: what the obey time is longer than the contract is told early.
    """

    name: str
    points: tuple[tuple[str, tuple[int, ...]], ...]
    wiring: np.ndarray
    limit_at: Callable[[np.ndarray], Limit]
    late_s: float


@dataclass(frozen=True, slots=True)
class DeadlineBudget:
    """Bound the scan: share of periods missed, and wake-up lateness at p99 as a share of the period."""

    missed_ratio: float = 0.001
    wake_p99_ratio: float = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class VerdictPlan:
    """List what a scenario promises; None leaves a rule out.

    `obey_s` (N,) is each charger's obey time in s: write pacing + 5 s PWM + 5 s car, plus whatever a measured order
    needs to reach the law. Tolerances are those of the metering.
    """

    obey_s: np.ndarray
    voltage_min_pu: float | None = None
    settle_s: float = 0.0
    u_nom_v: float = 230.0
    window: WindowRule | None = None
    order: OrderRule | None = None
    cuts: tuple[CutRule, ...] = ()
    stale: StaleRule | None = None
    silence: SilenceRule | None = None
    guard: GuardRule | None = None
    dim: DimRule | None = None
    envelope: EnvelopeRule | None = None
    contracts: tuple[ContractRule, ...] = ()
    deadlines: DeadlineBudget | None = None
    tolerance_a: float = 0.5
    tolerance_w: float = 500.0


@dataclass(frozen=True, slots=True)
class Mark:
    """Label a moment of the scenario, for the pictures."""

    t_s: float
    label: str


def marks_of(plan: VerdictPlan, names: Sequence[str]) -> list[Mark]:
    """Return the scenario's moments that the plan knows; `names` are the chargers'."""
    marks = []
    if plan.window:
        marks.append(Mark(plan.window.start_s, f"{plan.window.limit_a:g} A window"))
    if plan.order:
        marks.append(Mark(plan.order.at_s, f"DSO order {plan.order.limit_w / 1e3:g} kW"))
    marks += [Mark(cut.at_s, f"link of {names[cut.charger]} cut") for cut in plan.cuts]
    if plan.stale:
        marks.append(Mark(plan.stale.at_s, "substation value stale"))
    if plan.silence:
        marks.append(Mark(plan.silence.at_s, "DSO heartbeat stops"))
    return marks
