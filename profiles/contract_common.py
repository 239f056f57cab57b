"""Declare what every contract states: where, what and how its limit is measured, its source, notice and allowance.

The numbers of a contract file are the contract's; a number without a published source is a parameter and says so
(`verified = "example"`). The marks are those of docs/law.md.
"""

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[Day, ...] = get_args(Day)
Quantity = Literal["A", "W", "VA"]
Direction = Literal["import", "export"]
Beyond = Literal["obey", "refuse"]
Value = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def clock_time(given: object) -> object:
    """Return a local time of day that was written as text ("08:30"), anything else as it is; ValueError for no time."""
    if isinstance(given, str):
        try:
            given = time.fromisoformat(given)
        except ValueError as error:
            raise ValueError('not a time of day; write 08:30:00, or "08:30"') from error
    if isinstance(given, time) and given.tzinfo is not None:
        raise ValueError("a time of day with an offset; the contract's `timezone` says whose clock it is")
    return given


Clock = Annotated[time, BeforeValidator(clock_time)]
MonthDay = Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$", description="month-day")]


class Strict(BaseModel):
    """Refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Limit(Strict):
    """State a limit: its measuring point, phases, quantity and direction, and how it is judged and kept.

    The judge averages over `averaging_s` and allows `tolerance`; the law keeps the limit less `guard_band`, so that
    what a meter of that uncertainty reads is still under it. Amps are of each phase, watts and volt-amperes of all.
    """

    point: Literal["connection", "station", "connector", "par14a_device"]
    phases: Literal["each", "sum"]
    quantity: Quantity
    direction: Direction = "import"
    averaging_s: Annotated[float, Field(ge=0, le=86_400, description="s; 0 every value counts")] = 0.0
    tolerance: Annotated[float, Field(ge=0, lt=0.5, description="share of the limit, for the judge")] = 0.0
    guard_band: Annotated[float, Field(ge=0, lt=0.5, description="share of the limit that the law leaves free")] = 0.0

    @model_validator(mode="after")
    def of_one_kind(self) -> "Limit":
        """Refuse amps over all phases, and watts of each."""
        if (self.quantity == "A") != (self.phases == "each"):
            raise ValueError(f'quantity "{self.quantity}" with phases "{self.phases}": amps are "each", W and VA "sum"')
        if self.quantity == "A" and self.direction == "export":
            raise ValueError('quantity "A" with direction "export": a limit of export is in W or VA')
        return self

    def kept(self, value: float) -> float:
        """Return the value that the law keeps for a limit, in the same unit."""
        return value * (1.0 - self.guard_band)


class Notice(Strict):
    """State how early a call must be made: by a local time some days before, or so many seconds before it holds."""

    announce_by: Clock | None = None
    days_before: Annotated[int, Field(ge=0, le=31)] = 1
    min_notice_s: Value = 0.0
    late: Beyond = Field(default="obey", description="a late call is obeyed and flagged, or refused")


class Allowance(Strict):
    """State how much a contract may be called on; what is left out is not bounded. Years and days are local."""

    max_share_of_year: Annotated[float, Field(gt=0, le=1, description="of the hours of the calendar year")] | None = (
        None
    )
    max_hours_per_year: Annotated[float, Field(ge=0)] | None = None
    max_hours_per_day: Annotated[float, Field(ge=0, le=25)] | None = None
    max_calls_per_year: Annotated[int, Field(ge=0)] | None = None
    max_kwh_per_year: Annotated[float, Field(ge=0, description="energy curtailed")] | None = None
    beyond: Beyond = Field(default="obey", description="a call beyond it is obeyed and flagged, or refused")


class Recovery(Strict):
    """State how load comes back once a limit rises; what the site's [law] has holds where it is stricter.

    `ramp_w_per_s` is of all chargers of the contract together, beyond the floor at which one that was paused begins.
    """

    ramp_w_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    random_delay_s: Annotated[Value, Field(description="a paused charger waits a random part of it")] = 0.0
    min_off_s: Annotated[Value, Field(description="of every charger of the site: the law has one")] = 0.0


class Terms(Strict):
    """State what else the contract says; the reports print it, nothing is decided by it."""

    response_s: Annotated[float, Field(ge=0)] | None = None
    violations_to_suspend: Annotated[int, Field(ge=1)] | None = None
    evidence_years: Annotated[float, Field(ge=0)] | None = None
    fee_availability_eur_per_kw_year: Value | None = None
    fee_activation_eur_per_kwh: Value | None = None
    penalty_eur_per_kwh: Value | None = None


class Season(Strict):
    """Bound a window to a part of every year, both days included; `until` before `from` runs over the new year."""

    start: MonthDay = Field(alias="from")
    until: MonthDay


class Dates(Strict):
    """Bound a window to dates, both included."""

    start: date = Field(alias="from")
    until: date


class Span(Strict):
    """Declare a part of the local day, the days on which it begins, and its season; `until` not after `from` runs
    over midnight and belongs to the day on which it begins."""

    start: Clock = Field(alias="from")
    until: Clock
    days: list[Day] = Field(default=list(DAYS))
    season: Season | None = None
    dates: Dates | None = None
    holidays: Literal["as_any", "never", "only"] = Field(
        default="as_any", description="on the contract's holidays: as on any day, not at all, or on these only"
    )

    @property
    def from_s(self) -> float:
        """Return its start in s of the local day."""
        return seconds(self.start)

    @property
    def to_s(self) -> float:
        """Return its end in s of the local day."""
        return seconds(self.until)

    @property
    def day_bits(self) -> int:
        """Return its days of the week as bits, Monday bit 0."""
        return sum(1 << DAYS.index(day) for day in set(self.days))


class Window(Span):
    """Declare one window with its limit, in the unit of the contract's quantity."""

    limit_a: Value | None = None
    limit_w: Value | None = None
    limit_va: Value | None = None

    @model_validator(mode="after")
    def one_limit(self) -> "Window":
        """Refuse a window with no limit or several."""
        if sum(value is not None for value in (self.limit_a, self.limit_w, self.limit_va)) != 1:
            raise ValueError("give one of limit_a, limit_w, limit_va, that of the contract's quantity")
        return self

    def value(self, quantity: Quantity) -> float | None:
        """Return the limit where it is given in `quantity`."""
        return {"A": self.limit_a, "W": self.limit_w, "VA": self.limit_va}[quantity]


@dataclass(frozen=True, slots=True)
class ClockLimit:
    """Hold one window's limit: start and end in s of the local day, A per phase, W (or VA) over all, days as bits."""

    from_s: float
    to_s: float
    limit_a: float
    limit_w: float
    days: int
    window: Span


class ContractBase(Strict):
    """Declare what all kinds of contract have in common; a kind adds `kind` and its own keys."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: str
    source: str
    verified: Literal["V", "C", "R+", "R?", "example"]
    timezone: str | None = Field(default=None, description="IANA zone of its times; default: the site's")
    limit: Limit
    holidays: list[date] = Field(default=[])
    recovery: Recovery = Recovery()
    terms: Terms = Terms()

    @property
    def windows(self) -> tuple[ClockLimit, ...]:
        """Return its limits by the clock alone, of which the lowest holds; none where the kind has none."""
        return ()


def seconds(clock: time) -> float:
    """Return a time of the day in s since midnight."""
    return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond * 1e-6
