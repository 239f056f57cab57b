"""Start a CSMS with one charger and a clock that tests may shorten, for points that tests script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from instruments.catalog import Model, charger_of, load_model, ocpp_of
from instruments.ocpp_charger import OcppCharger
from instruments.ocpp_csms import Csms
from instruments.ocpp_security import Security

MODELS = {"ocpp1.6": "ocpp16-generic", "ocpp2.0.1": "ocpp201-generic", "ocpp2.1": "ocpp21-generic"}
IDENTITY = "CP 1"


def quick(version: str, **ocpp: Any) -> Model:
    """Return the generic record of a version with short times, and [ocpp] keys or quirks of the test's."""
    model = load_model(MODELS[version])
    part = charger_of(model)
    timing = part.timing.model_copy(update={"write_gap_s": 0.3, "pwm_gap_s": 0.1, "car_s": 0.1})
    quirks = ocpp_of(model).quirks.model_copy(update=ocpp.pop("quirks", {}))
    changed = ocpp_of(model).model_copy(update={"call_timeout_s": 3.0, "quirks": quirks} | ocpp)
    return model.model_copy(update={"charger": part.model_copy(update={"timing": timing}), "ocpp": changed})


@dataclass
class Bench:
    """Hold a CSMS, its charger, and what the law would say."""

    csms: Csms
    charger: OcppCharger
    want_a: float = 16.0
    talk: bool = True
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return the URL that the charge point dials."""
        return f"{self.csms.url}/CP%201"


@contextlib.asynccontextmanager
async def bench(
    model: Model, *, run: bool = True, phases: int = 3, failsafe_s: float = 9.0, read_only: bool = False
) -> AsyncIterator[Bench]:
    """Serve one charger on a free port, and close all at the end."""
    told: list[tuple[str, dict[str, Any]]] = []
    csms = Csms("127.0.0.1", 0, Security(), tell=lambda kind, **fields: told.append((kind, fields)))
    charger = OcppCharger(
        "cp1", model, IDENTITY, csms, failsafe_a=6.0, failsafe_s=failsafe_s, phases=phases, read_only=read_only
    )
    csms.expect(charger)
    await csms.start()
    here = Bench(csms, charger, told=told)
    task = asyncio.create_task(charger.run(lambda: here.want_a, lambda: here.talk)) if run else None
    try:
        yield here
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await charger.close()


async def until(met: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    """Wait until something holds; AssertionError says what did not."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not met():
                await asyncio.sleep(0.01)
    assert met(), f"not within {within_s:g} s: {what}"
