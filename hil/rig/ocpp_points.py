"""Let a rig's emulated OCPP charge points dial the CSMS, whose port is chosen here before anybody listens on it."""

from collections.abc import Callable
from typing import Any

from hil.rig.assembler import Assembly
from hil.rig.csms_part import free_port, speaks_ocpp, twin_password, url_of
from hil.rig.world import World


class OcppPoints:
    """Hold the OCPP twins of a rig, by charger index; empty where it has none."""

    def __init__(
        self, assembly: Assembly, world: World, clock_s: Callable[[], float], utc_ns: Callable[[], int]
    ) -> None:
        self._rig = assembly.rig
        self.twins: dict[int, Any] = {}
        for i, part in enumerate(assembly.rig.charger):
            if part.twin and speaks_ocpp(assembly.models[i]):
                from hil.twins.ocpp_charger import OcppChargerTwin  # an optional extra

                self.twins[i] = OcppChargerTwin(
                    assembly.models[i], world.view(i), clock_s, identity=part.name, utc_ns=utc_ns
                )

    async def start(self) -> dict[str, tuple[str, int | None]]:
        """Begin to dial and return {name: (URL, None)}."""
        csms = self._rig.csms
        port = csms.port or (free_port(csms.host) if self.twins else 0)
        ports: dict[str, tuple[str, int | None]] = {}
        for i, twin in self.twins.items():
            name = self._rig.charger[i].name
            url = url_of(csms, port, name)
            await twin.start(url, password=twin_password(csms, name), ca=csms.ca or csms.certificate)
            ports[name] = (url, None)
        return ports

    async def cut(self, i: int, *, cut: bool) -> None:
        """Cut the link of charger `i`, or mend it; nothing for one that is no OCPP twin."""
        twin = self.twins.get(i)
        if twin is not None:
            await (twin.cut() if cut else twin.restore())

    def follow(self, world: World) -> None:
        """Let the points refuse profiles where the scenario says so, and say which of them fell by themselves."""
        for i, twin in self.twins.items():
            twin.faults.reject_profiles = bool(world.rejecting[i])
            world.fallen[i] = twin.point.fallen

    async def stop(self) -> None:
        """Close every connection."""
        for twin in self.twins.values():
            await twin.stop()
