"""Read SCPI parameters: numbers with units, booleans, words, strings, blocks, channel lists.

IEEE 488.2, 7.7 and SCPI-99 volume 1, chapters 7 and 8. What does not fit raises a ScpiError of SCPI-99 21.8.
"""

import math
import re
from functools import lru_cache

from hil.twins.scpi_errors import ScpiError
from instruments.scpi_units import UNITS

DECIMAL = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:\s*[eE]\s*([+-]?\d+))?)\s*([A-Za-z%][A-Za-z/%]*)?$", re.ASCII)
RADIX = {"H": 16, "Q": 8, "B": 2}
EXPONENT_MAX = 300  # IEEE 754 double; the standard asks for 32000 and allows -123 below
DIGITS_MAX = 255  # IEEE 488.2, 7.7.2.4.1
INFINITE = 9.9e37  # SCPI-99 volume 1, 7.2.1.4
MULTIPLIERS = {
    **{"EX": 1e18, "PE": 1e15, "T": 1e12, "G": 1e9, "MA": 1e6, "K": 1e3},
    **{"": 1.0, "M": 1e-3, "U": 1e-6, "N": 1e-9, "P": 1e-12, "F": 1e-15, "A": 1e-18},
}
MEGA_M = ("HZ", "OHM")  # with these units M means mega (IEEE 488.2, table 7-2)
SPELLINGS = {"VOLT": "V", "VOLTS": "V", "AMP": "A", "AMPS": "A", "WATT": "W", "WATTS": "W", "SEC": "S", "PCT": "%"}
CHANNELS = re.compile(r"\(\s*@\s*(\d+(?::\d+)?(?:\s*,\s*\d+(?::\d+)?)*)\s*\)")


@lru_cache(maxsize=4096)
def matches(text: str, notation: str) -> bool:
    """Tell whether the text is the short or the long form of a word in SCPI notation."""
    short = "".join(char for char in notation if not char.islower())
    return text.upper() in (short, notation.upper())


def number(text: str, unit: str, with_unit: bool) -> float:
    """Return a decimal or non-decimal number in the quantity's unit (IEEE 488.2, 7.7.2 to 7.7.4; suffixes 7.7.3).

    INFinity and NINFinity are +-9.9E37 (SCPI-99 volume 1, 7.2.1.4).
    """
    if text[0] == "#":
        return _non_decimal(text)
    if text[0] in "'\"":
        raise ScpiError(-158)
    if text[0] == "(":
        raise ScpiError(-178)
    for notation, value in (("INFinity", INFINITE), ("NINFinity", -INFINITE)):
        if matches(text, notation):
            return value
    found = DECIMAL.match(text)
    if found is None:
        raise ScpiError(-141 if text[0].isalpha() else -121)
    if found[2] and abs(int(found[2])) > EXPONENT_MAX:
        raise ScpiError(-123)
    if len(found[1]) > DIGITS_MAX:
        raise ScpiError(-124)
    value = float(re.sub(r"\s", "", found[1]))
    return value * _factor(found[3].upper(), unit, with_unit) if found[3] else value


def _non_decimal(text: str) -> float:
    """Return the number behind #H, #Q or #B; anything else behind # is a block."""
    base = RADIX.get(text[1:2].upper())
    if base is None:
        raise ScpiError(-168)
    if not re.fullmatch(r"[0-9A-Fa-f]+", text[2:]):
        raise ScpiError(-121)
    try:
        return float(int(text[2:], base))
    except ValueError:
        raise ScpiError(-121) from None


def _factor(suffix: str, unit: str, with_unit: bool) -> float:
    """Return what a suffix multiplies by, so that the product is in the quantity's unit."""
    if not with_unit or not unit:
        raise ScpiError(-138)
    ours, factor = UNITS[unit]
    if suffix == "MIN" and ours == "s":
        return 60.0 / factor
    top, _, bottom = suffix.partition("/")
    our_top, _, our_bottom = ours.upper().partition("/")
    if bool(bottom) != bool(our_bottom):
        raise ScpiError(-131)
    scale = _scale(top, our_top)
    if bottom:
        scale /= _scale(bottom, our_bottom)
    return scale / factor


def _scale(suffix: str, unit: str) -> float:
    """Return the multiplier in front of a base unit; M is milli and MA mega, but MA of amperes is milliampere."""
    suffix = SPELLINGS.get(suffix, suffix)
    if not suffix.endswith(unit):
        raise ScpiError(-131)
    multiplier = suffix.removesuffix(unit)
    if multiplier not in MULTIPLIERS:
        raise ScpiError(-131)
    return 1e6 if multiplier == "M" and unit in MEGA_M else MULTIPLIERS[multiplier]


def integer(text: str) -> int:
    """Return a number without unit, rounded half up."""
    return math.floor(number(text, "", with_unit=False) + 0.5)


def boolean(text: str) -> bool:
    """Return a SCPI boolean: ON, OFF or a number, of which anything that rounds to other than 0 is true."""
    if text.upper() in ("ON", "OFF"):
        return text.upper() == "ON"
    return integer(text) != 0


def word(text: str, notations: list[str]) -> str:
    """Return the notation of the character datum that the text is the short or long form of."""
    for notation in notations:
        if matches(text, notation):
            return notation
    if text[0] in "'\"":
        raise ScpiError(-158)
    raise ScpiError(-128 if text[0].isdigit() or text[0] in "+-.#" else -141)


def string(text: str) -> str:
    """Return what a quoted string says, doubled quotes taken back (IEEE 488.2, 7.7.5)."""
    if text[0] not in "'\"":
        raise ScpiError(-168 if text[0] == "#" else -128 if text[0].isdigit() or text[0] in "+-." else -148)
    return text[1:-1].replace(text[0] * 2, text[0])


def block(text: str) -> bytes:
    """Return the bytes of an arbitrary block, ``#<digits><length><data>`` or ``#0<data>`` (IEEE 488.2, 7.7.6)."""
    if text[0] != "#":
        raise ScpiError(-104)
    if not text[1:2].isdigit():
        raise ScpiError(-161)
    digits = int(text[1])
    if digits == 0:
        return text[2:].encode("latin-1")
    length, data = text[2 : 2 + digits], text[2 + digits :]
    if len(length) != digits or not length.isdigit() or len(data) != int(length):
        raise ScpiError(-161)
    return data.encode("latin-1")


def is_channels(text: str) -> bool:
    """Tell whether a parameter is a channel list."""
    return text.startswith("(")


def channels(text: str, highest: int) -> list[int]:
    """Return the channels of a list ``(@1,3:4)`` in its order (SCPI-99 volume 1, 8.3.2); -222 beyond the highest."""
    if not highest:
        raise ScpiError(-178)
    found = CHANNELS.fullmatch(text)
    if found is None:
        raise ScpiError(-171)
    picked: list[int] = []
    for part in found[1].split(","):
        first, _, last = part.strip().partition(":")
        low, high = int(first), int(last or first)
        picked += range(low, high + 1) if low <= high else range(low, high - 1, -1)
    if not all(1 <= channel <= highest for channel in picked):
        raise ScpiError(-222)
    return picked
