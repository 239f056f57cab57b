"""Play an energy guard in virtual time: its heartbeats and writes, as the rig file tells, and note the answers."""

from typing import Any

from controller.runtime.lpc_system import ControllableSystem, machine_settings
from hil.rig.guard_keys import GuardAct, GuardPart
from profiles.contract import load_contract
from profiles.contract_lpc import Lpc

NODES = ("transformer", "head")


class EnergyGuard:
    """Hold the guard and the controllable system that it talks to; `log` takes what happened, with scenario times."""

    def __init__(self, part: GuardPart, now_ns: int, log: list[dict[str, Any]]) -> None:
        contract = load_contract(part.contract)
        if not isinstance(contract, Lpc):
            raise ValueError(f'guard.contract = {part.contract!r}: its kind is "{contract.kind}", allowed is "lpc"')
        self.use_case = "lpc" if contract.limit.direction == "import" else "lpp"
        self.system = ControllableSystem(NODES.index(part.node), {self.use_case: machine_settings(contract)}, now_ns)
        self._log, self._noted = log, 0
        self._acts = acts_of(part)

    def play(self, t_s: float, now_ns: int, inp: Any) -> None:
        """Do what is due, and hand the limits in force to INPUT."""
        while self._acts and self._acts[0][0] <= t_s:
            self._do(self._acts.pop(0)[1], t_s, now_ns)
        self.system.fill(inp, now_ns)
        for taken in self.system.taken[self._noted :]:
            self._note(t_s, "lpc", rule=taken.transition.rule, before=taken.transition.before.name,
                       after=taken.transition.after.name)  # fmt: skip
        self._noted = len(self.system.taken)

    def _do(self, act: GuardAct, t_s: float, now_ns: int) -> None:
        if act.do == "restart":
            self.system.restart(now_ns)
            self._note(t_s, "lpc", rule="901", before="", after=self.system.state(self.use_case).name)
            return
        if act.do == "heartbeats":
            self.system.take({"type": "heartbeat"}, now_ns)
            return
        message = {"type": "write", "use_case": self.use_case, "what": act.do, "active": act.active}
        message |= {"value_w": act.value_w, "duration_s": act.duration_s}
        self.system.applicable = act.applicable
        answer = self.system.take(message, now_ns)
        self.system.applicable = True
        said = {} if answer is None else answer
        self._note(t_s, "lpc_write", what=act.do, value_w=act.value_w, ack=said.get("ack"), rule=said.get("rule"),
                   wanted=act.ack)  # fmt: skip

    def _note(self, t_s: float, event: str, **fields: Any) -> None:
        watts = self.system.limit_w(self.use_case)
        known = {"limit_w": None if watts == float("inf") else watts}
        self._log.append({"t_s": t_s, "event": event, "use_case": self.use_case} | fields | known)


def acts_of(part: GuardPart) -> list[tuple[float, GuardAct]]:
    """Return the acts one by one in the order of their times, a heartbeat at a time."""
    found = []
    for act in part.act:
        count = 1 + (int(act.for_s / act.every_s + 1e-9) if act.do == "heartbeats" else 0)
        found += [(act.at_s + k * act.every_s, act) for k in range(count)]
    return sorted(found, key=lambda act: act[0])
