"""Name the voltage curves that a plan may choose, each with its source and how well it is verified.

Marks: V read in the source; R+ and R? from memory with high and low confidence, so check them against the standard
before use; `own` a recommendation of this project. 1 pu is 230 V line to neutral. The share is of the charger's
ceiling for charging and of its discharge ceiling for export.
"""

from dataclasses import dataclass

U_NOM_V = 230.0
OLRT_TO_TAU = 1.0 / 2.302585092994046  # an open-loop response time is the time to 90 % (facts A3, R+)


@dataclass(frozen=True, slots=True)
class Preset:
    """Hold a curve: points (pu, share of the ceiling) with rising volts, filter, hysteresis, pause and resume."""

    points: tuple[tuple[float, float], ...]
    tau_s: float
    source: str
    mark: str
    deadband_pu: float = 0.0
    hysteresis_pu: float = 0.0
    pause_pu: float = 0.0
    resume_pu: float = 0.0


CHARGING: dict[str, Preset] = {
    "eu_research": Preset(
        points=((0.92, 0.1875), (0.96, 1.0)),
        tau_s=10.0,
        deadband_pu=0.001,
        hysteresis_pu=0.02,
        pause_pu=0.915,
        resume_pu=0.935,
        source="research practice, facts A4: 6 A of 32 A at 0.92, full current from 0.96, pause under 0.915",
        mark="own",
    ),
    "as_nzs_4777_charging": Preset(
        points=((207.0 / U_NOM_V, 0.2), (215.0 / U_NOM_V, 1.0)),
        tau_s=10.0,
        source="AS/NZS 4777.2:2020, volt-watt for charging of storage, Australia A: 207 V 20 %, 215 V 100 %;"
        " without hysteresis (Fronius GEN24 manual p. 41)",
        mark="R?",
    ),
}

EXPORT: dict[str, Preset] = {
    "ieee_1547_volt_watt": Preset(
        points=((1.06, 1.0), (1.10, 0.0)),
        tau_s=10.0 * OLRT_TO_TAU,
        source="IEEE 1547-2018 volt-watt, storage: full power to 1.06, none from 1.10, open-loop response time 10 s"
        " (OpenDER defaults)",
        mark="V",
    ),
    "as_nzs_4777_export": Preset(
        points=((253.0 / U_NOM_V, 1.0), (260.0 / U_NOM_V, 0.2)),
        tau_s=10.0 * OLRT_TO_TAU,
        source="AS/NZS 4777.2:2020 volt-watt, Australia A: 253 V 100 %, 260 V 20 %; response time assumed",
        mark="R+",
    ),
    "en_50549": Preset(
        points=((1.10, 1.0), (1.12, 0.0)),
        tau_s=10.0 * OLRT_TO_TAU,
        source="EN 50549-1 P(U) as in LG ESS Home 10 manual p. 88 (1 to 60 s adjustable); response time assumed",
        mark="V",
    ),
}


def chosen(table: dict[str, Preset], name: str) -> Preset:
    """Return the preset of that name; a ValueError names the known ones."""
    if name not in table:
        raise ValueError(f"preset {name!r}: unknown; allowed are {', '.join(sorted(table))}")
    return table[name]
