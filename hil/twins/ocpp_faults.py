"""List the ways in which an emulated charge point misbehaves, each a switch that can be set while it runs."""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Faults:
    """Hold the switches. The first block are quirks of a model (its record sets them), the second are faults.

    only_watts: profiles in A are refused. ignores_profiles: accepted and shown, never obeyed. empty_composite: Accepted
    without a schedule. minus_one: a composite limit of -1 while no transaction runs. no_composite and no_trigger: these
    calls are not implemented. forgets_on_reboot: profiles are gone after it. sums_only: no values per phase.

    reject_profiles: each is refused. drop_in_call: the socket is dropped by the next call, once. late_s: answers come
    so much later. duplicate: every own call is sent twice. skew_s: its clock is ahead. bad_result: answers break the
    schema. storm: the connection is dropped a second after it stands.
    """

    only_watts: bool = False
    ignore_profiles: bool = False
    empty_composite: bool = False
    minus_one: bool = False
    no_composite: bool = False
    forgets_on_reboot: bool = False
    no_trigger: bool = False
    sums_only: bool = False
    reject_profiles: bool = False
    drop_in_call: bool = False
    late_s: float = 0.0
    duplicate: bool = False
    skew_s: float = 0.0
    bad_result: bool = False
    storm: bool = False


NAMES = {"ignores_profiles": "ignore_profiles"}  # the record's word for what the model does by itself


def faults_of(quirks: Any) -> Faults:
    """Return the switches as the quirks of a catalog record set them (a mapping or an object with those names)."""
    given = dict(quirks) if isinstance(quirks, dict) else {k: getattr(quirks, k) for k in type(quirks).model_fields}
    known = {NAMES.get(key, key): value for key, value in given.items()}
    return Faults(**{key: value for key, value in known.items() if key in Faults.__dataclass_fields__})
