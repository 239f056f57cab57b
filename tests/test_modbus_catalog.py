"""Walk the catalog: every family complete, every block with its source; broken files are refused with file:key."""

import re
import struct
import tomllib

import pytest
from modbus_helpers import CHARGERS, QUANTITIES, TWINS

from instruments import catalog
from instruments.modbus_codec import code_of, decode_words, encode_value
from instruments.scpi_catalog import VERIFIED

MODELS = catalog.all_models()
UNITS = {"1", "A", "V", "W", "Wh", "s", "Hz", "degC"}


def test_names_are_those_of_the_files():
    assert {*TWINS, "chroma-61500", "itech-it8600"} <= set(catalog.model_names())
    assert [m.model.name for m in MODELS] == catalog.model_names()


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.model.name)
def test_every_block_names_source_and_mark(model):
    def walk(value, where):
        if isinstance(value, dict):
            if "source" in value or "verified" in value:
                assert value.get("source") and value.get("verified") in VERIFIED, where
            for key, inner in value.items():
                walk(inner, f"{where}.{key}")
        elif isinstance(value, list):
            for k, inner in enumerate(value):
                walk(inner, f"{where}[{k}]")

    assert model.model.source
    walk(model.model_dump(), model.model.name)


@pytest.mark.parametrize("name", TWINS)
def test_every_register_has_a_unit_a_source_and_a_known_quantity(name):
    part = catalog.modbus_of(catalog.load_model(name))
    for register in part.registers:
        assert register.unit in UNITS, register.name
        assert register.source and register.verified in VERIFIED
        if name in CHARGERS and register.quantity:
            assert register.quantity in QUANTITIES, register.name
        wanted = re.search(r"_(a|v|w|wh|s|hz)$", register.quantity)
        if wanted:
            assert register.unit.lower() == wanted[1], f"{register.name}: {register.quantity} in {register.unit}"


@pytest.mark.parametrize("name", TWINS)
def test_every_register_carries_its_sample_over_the_wire_and_back(name):
    part = catalog.modbus_of(catalog.load_model(name))
    for register in part.registers:
        value = QUANTITIES.get(register.quantity, register.sample)
        if register.type == "str":
            assert decode_words(part, register, encode_value(part, register, str(value))) == str(value)
        elif not isinstance(value, str):
            back = decode_words(part, register, encode_value(part, register, value))
            assert back == pytest.approx(value, rel=1e-6, abs=register.scale / 2)


@pytest.mark.parametrize("name", CHARGERS)
def test_codes_that_the_twin_sends_are_those_that_the_client_reads(name):
    part = catalog.modbus_of(catalog.load_model(name))
    for register in part.registers:
        for ours, raw in register.encode.items():
            if int(ours) <= 2:  # D, E and F share codes with others
                assert code_of(register, raw * register.scale) == int(ours), register.name


def test_alfen_floats_lie_high_word_first():
    part = catalog.modbus_of(catalog.load_model("alfen-ng9xx"))
    setpoint = part.register("setpoint")
    assert encode_value(part, setpoint, 16.0) == [0x4180, 0x0000]
    assert decode_words(part, setpoint, [0x41C8, 0x0000]) == 25.0
    little = part.model_copy(update={"word_order": "little"})
    assert encode_value(little, setpoint, 16.0) == [0x0000, 0x4180]
    energy = part.register("energy")
    assert decode_words(part, energy, struct.unpack(">4H", struct.pack(">d", 1234.5))) == 1234.5


def test_keba_milliamps_and_tenths_of_a_watt_hour():
    part = catalog.modbus_of(catalog.load_model("keba-p40"))
    assert decode_words(part, part.register("current_l1"), [0, 15500]) == 15.5
    assert decode_words(part, part.register("energy"), [1, 0]) == pytest.approx(6553.6)
    assert encode_value(part, part.register("set_current"), 6.0) == [6000]


def test_value_that_does_not_fit_is_refused_not_clipped():
    part = catalog.modbus_of(catalog.load_model("keba-p40"))
    for value in (65.536, -0.001, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="set_current"):
            encode_value(part, part.register("set_current"), value)


def test_unknown_model_lists_those_there_are():
    with pytest.raises(catalog.CatalogError, match=r"keba-p50: no such device model.*keba-p40"):
        catalog.load_model("keba-p50")


def test_wrong_protocol_or_role_is_named():
    with pytest.raises(catalog.CatalogError, match="chroma-61500: speaks scpi"):
        catalog.modbus_of(catalog.load_model("chroma-61500"))
    with pytest.raises(catalog.CatalogError, match="cp-adapter: has the role ev_adapter; a charger is needed"):
        catalog.charger_of(catalog.load_model("cp-adapter"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("max_a = 32.0", "max_amps = 32.0", r"keba_p40.toml:charger.max_a: is missing.*\n.*charger.max_amps: unknown"),
        ("max_a = 32.0", 'max_a = "32"', r"keba_p40.toml:charger.max_a = '32'"),
        ("min_a = 6.0", "min_a = 40.0", r"min_a 40 A is over max_a 32 A"),
        ('kind = "any_traffic"', 'kind = "hope"', r"keba_p40.toml:charger.watchdog.kind = 'hope'"),
        ("address = 1004", "address = 1001", r"registers state and cable overlap at address 1001"),
        ("address = 1004", "address = 70000", r"registers\[1\].address = 70000"),
        ('["current_l1"]', '["current_l9"]', r"unknown registers: current_l9"),
        ('["current_l1"]', '["current_l1", "current_l2"]', r"more than one read gives"),
        ('name = "cable"', 'name = "state"', r"registers named twice: state"),
        ('unit = "W"', 'unit = ""', r"unit = ''"),
        ('applied = "limit"', 'applied = "limitt"', r"\[charger\] names unknown registers: limitt"),
        ("sample = 4210330", "sample = 321033", r"does not match the sample '321033'"),
        ('name = "keba-p40"', 'name = "keba-p41"', r"must be keba-p40"),
        ('verified = "V"', 'verified = "sure"', r"verified = 'sure'"),
        ("[modbus]", "[modbus", r"not a TOML file"),
    ],
)
def test_broken_file_is_refused_with_file_key_and_what_is_allowed(tmp_path, old, new, told):
    text = (catalog.FOLDER / "keba_p40.toml").read_text()
    assert old in text
    path = tmp_path / "keba_p40.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(catalog.CatalogError, match=told):
        catalog.read_model(path)


def test_all_errors_of_a_file_come_at_once(tmp_path):
    text = (catalog.FOLDER / "keba_p40.toml").read_text()
    path = tmp_path / "keba_p40.toml"
    path.write_text(text.replace("max_a = 32.0", "max_a = -1.0").replace("read_gap_s = 0.5", "read_gap_s = -2.0"))
    assert tomllib.loads(path.read_text())
    with pytest.raises(catalog.CatalogError) as caught:
        catalog.read_model(path)
    assert "charger.max_a = -1.0" in str(caught.value) and "modbus.read_gap_s = -2.0" in str(caught.value)
