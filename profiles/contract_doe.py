"""Declare dynamic operating envelopes: an import and an export limit for each interval, and what holds without one."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from profiles.contract_common import ContractBase, Value


class OperatingEnvelope(ContractBase):
    """A connection whose limits of import and export are sent for every interval.

    Without one in force the subscribed capacity holds; one that was not renewed for `max_age_s` is lost, and until its
    interval is over the lower of both holds.
    """

    kind: Literal["operating_envelope"]
    subscribed_w: Value
    subscribed_export_w: Value
    interval_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    max_age_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 900.0

    @model_validator(mode="after")
    def of_a_connection(self) -> "OperatingEnvelope":
        """Refuse an envelope that is not in watts at a connection, or older than an interval before it is lost."""
        if self.limit.quantity != "W" or self.limit.point != "connection":
            raise ValueError('limit: an operating envelope is in "W" at a "connection"')
        if self.max_age_s < self.interval_s:
            raise ValueError(f"max_age_s = {self.max_age_s:g} s: allowed from interval_s, {self.interval_s:g} s, up")
        return self


Kinds = OperatingEnvelope
