"""Turn registers into values and back: one place for types, word order and scale."""

import math
import struct
from collections.abc import Sequence

from instruments.modbus_catalog import ModbusPart, Register

FORMATS = {"u16": ">H", "s16": ">h", "u32": ">I", "s32": ">i", "u64": ">Q", "f32": ">f", "f64": ">d"}


def decode_words(part: ModbusPart, register: Register, words: Sequence[int]) -> float | str:
    """Return a register's value in SI units, or its text; a float that is not a number stays NaN.

    Errors: ValueError where the number of words is not the register's.
    """
    if len(words) != register.count:
        raise ValueError(f"{register.name}: {len(words)} registers, expected {register.count}")
    if register.type == "str":
        raw = b"".join(word.to_bytes(2, "big") for word in words)
        return raw.split(b"\0", 1)[0].decode("ascii", "replace").strip()
    ordered = words if part.order_of(register) == "big" else list(reversed(words))
    raw = b"".join(word.to_bytes(2, "big") for word in ordered)
    return float(struct.unpack(FORMATS[register.type], raw)[0]) * register.scale


def block_struct(part: ModbusPart, registers: Sequence[Register], address: int, count: int) -> struct.Struct | None:
    """Return what unpacks a whole block of `count` registers from `address` into these values, in address order.

    None where one of them is a text, or lies low word first: such a block is decoded value by value.
    """
    layout = ">"
    at = address
    for register in sorted(registers, key=lambda r: r.address):
        low_first = part.order_of(register) != "big" and register.count > 1
        if register.type == "str" or low_first or register.address < at:
            return None
        layout += f"{2 * (register.address - at)}x{FORMATS[register.type][1]}"
        at = register.end
    return struct.Struct(f"{layout}{2 * (address + count - at)}x")


def encode_value(part: ModbusPart, register: Register, value: float | str) -> list[int]:
    """Return the words of a value given in SI units, or of a text.

    Errors: ValueError where the value is not finite or does not fit the type; nothing is clipped.
    """
    if register.type == "str":
        text = str(value).encode("ascii", "replace")
        if len(text) > 2 * register.count:
            raise ValueError(f"{register.name} = {value!r}: longer than {2 * register.count} characters")
        raw = text.ljust(2 * register.count, b"\0")
        return [int.from_bytes(raw[k : k + 2], "big") for k in range(0, len(raw), 2)]
    number = float(value) / register.scale
    if register.type in ("f32", "f64"):
        packed = struct.pack(FORMATS[register.type], number)
    else:
        if not math.isfinite(number):
            raise ValueError(f"{register.name} = {value} {register.unit}: a {register.type} cannot hold it")
        try:
            packed = struct.pack(FORMATS[register.type], round(number))
        except struct.error as error:
            raise ValueError(f"{register.name} = {value:g} {register.unit}: does not fit a {register.type}") from error
    words = [int.from_bytes(packed[k : k + 2], "big") for k in range(0, len(packed), 2)]
    return words if part.order_of(register) == "big" else words[::-1]


def code_of(register: Register, value: float | str) -> int | None:
    """Return our code of a raw code by the register's `decode` map; None where the map does not know it."""
    if isinstance(value, str):
        return register.decode.get(value)
    return register.decode.get(str(register.code(round(value / register.scale)))) if math.isfinite(value) else None
