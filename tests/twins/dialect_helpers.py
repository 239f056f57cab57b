"""Fill the conformance vectors in for one dialect and say what its switches change: from the record, not the twin."""

import re
from dataclasses import dataclass
from typing import Any

from scpi_helpers import Clock

from hil.twins.scpi_terminals import TerminalTwin
from hil.twins.scpi_twins import make_twin
from instruments.catalog import all_models
from instruments.scpi_catalog import Quantity, ScpiPart

DIALECTS = [model for model in all_models() if model.scpi is not None and not model.model.undriven]
MAIN = ("volt_ac_v", "volt_ac_a_v", "set_v", "set_a", "set_w")
SWITCHES = ("output", "input")


def twin_of(part: ScpiPart, clock: Clock | None = None) -> TerminalTwin:
    """Return the twin under remote control with an empty queue, its headers off where it would repeat them."""
    twin = make_twin(part, clock or Clock())
    for message in (part.remote.take, ":COMM:HEAD OFF" if part.parser.header_reply else "", "*CLS"):
        if message:
            twin.answer(message.encode())
    return twin


def ask(twin: TerminalTwin, message: str) -> str:
    """Return the reply without its terminator; nothing where there is none."""
    reply = twin.answer(message.encode("latin-1"))
    return (reply or b"").decode("latin-1").rstrip("\r\n")


def drain(twin: TerminalTwin, most: int = 99) -> list[int]:
    """Ask the queue empty over its own query and return the codes as SCPI-99 numbers them."""
    parser = twin.part.parser
    if parser.error_query.startswith("*"):  # a device without a queue: its event bits stand for what the twin noted
        noted = [int(code) for code in twin.status.errors.codes()]
        ask(twin, "*CLS")
        return noted
    codes: list[int] = []
    while len(codes) < most:
        text = ask(twin, parser.error_query)
        if text == parser.error_empty:
            return codes
        code = int(text.split(",")[0])
        codes.append(-code if parser.error_positive and 100 <= code < 500 else code)
    return codes


@dataclass(frozen=True, slots=True)
class Dialect:
    """Hold one record and the placeholders that it gives the vectors."""

    part: ScpiPart

    @property
    def main(self) -> tuple[str, Quantity]:
        """Return the number setting that the vectors play with."""
        quantities = self.part.quantities
        names = [name for name in MAIN if name in quantities]
        names += [n for n, q in quantities.items() if q.kind == "number" and q.access == "rw" and q.send and q.unit]
        return names[0], quantities[names[0]]

    @property
    def switch(self) -> Quantity | None:
        """Return the boolean that energises."""
        return next((self.part.quantities[name] for name in SWITCHES if name in self.part.quantities), None)

    def fields(self) -> dict[str, str]:
        """Return the placeholders."""
        _, quantity = self.main
        template = quantity.send or f"{short(quantity.header)} {{value}}"
        header, _, rest = template.partition(" ")
        tail = rest.partition("}")[2].format(channel=1) if "{channel}" in rest else ""
        most = self.most(quantity)
        low, high = (most * share for share in (0.25, 0.5))
        if quantity.step >= 1.0:
            low, high = float(round(low)), float(round(high))
        fields = {
            "h": header,
            "bare": header.lstrip(":"),
            "full": header,
            "lower": header.lower(),
            "t": tail,
            "q": (quantity.ask or f"{header}?").format(channel=1),
            "low": f"{low:g}",
            "high": f"{high:g}",
            "far": "1e9",
            "one": "1",
            "min": f"{quantity.min:g}",
            "max": f"{most:g}",
            "start": f"{float(quantity.default):g}",
            "unit": quantity.unit,
            "other": "V" if quantity.unit == "s" else "S",
            "long": longest(quantity.header),
            "idn": self.part.identity.sample,
            "release": self.part.remote.release,
        }
        fields["padded"] = f"{header} {fields['low']}{tail}".ljust(300)
        return fields | self._switch_fields()

    def _switch_fields(self) -> dict[str, str]:
        switch = self.switch
        words = self.part.parser.bool_reply == "words"
        if switch is None:
            return {"on9": "FOO9", "on_is": "", "ot": "", "on_q": "", "off_word": ""}
        header, _, rest = (switch.send or f"{short(switch.header)} {{value}}").partition(" ")
        first, colon, others = header.lstrip(":").partition(":")
        on = rest.format(value="ON", channel=1)
        return {
            "on9": f"{first}9{colon}{others} {on}",
            "on_is": header,
            "ot": rest.partition("}")[2].format(channel=1),
            "on_q": (switch.ask or f"{header}?").format(channel=1),
            "off_word": "OFF" if words else "0",
        }

    def most(self, quantity: Quantity) -> float:
        """Return the largest value allowed after a reset: the range, the soft limits and the rating count."""
        most = float(quantity.max or 0.0)
        if quantity.range_by:
            most = min(most, quantity.range_max[str(self.part.quantities[quantity.range_by].default)])
        for bound in quantity.bounded_by:
            most = min(most, float(self.part.quantities[bound].default))
        return most

    def says(self, switch: str) -> Any:
        """Return a switch of the record, or one of the few that follow from several."""
        parser, header = self.part.parser, self.fields()["h"]
        own = {
            "repeats_path": parser.path == "strict" and ":" in header and not header.startswith(":"),
            "channel_list": "(@" in self.main[1].send,
            "short_buffer": 0 < parser.max_bytes < 300,
            "has_output": self.switch is not None,
        }
        if switch in own:
            return own[switch]
        block, _, key = switch.partition(".")
        return getattr(getattr(self.part, block), key)

    def code(self, code: int | str) -> int:
        """Return an expected code; two of them are the vendor's."""
        vendors = {"too_long": self.part.parser.too_long_code, "local": self.part.parser.local_code}
        return vendors[code] if isinstance(code, str) else code


def short(header: str) -> str:
    """Return the short form of a header in SCPI notation, optional words left out."""
    bare = re.sub(r"\[[^\]]*\]", "", header).split("|")[0]
    return "".join(char for char in bare if not char.islower())


def longest(header: str) -> str:
    """Return the header with every optional word, in the long form, the first of its alternatives."""
    words = re.findall(r"[\w|#]+", header)
    return ":".join(word.split("|")[0].partition("#")[0] for word in words)
