"""The floor of section 14a EnWG: its published figures, its groups, its trap."""

import pytest

from controller.law.gzf import FLOOR_W, Device, direct_floor_w, floor_w, simultaneity_factor

BOX = Device("charge_point", 11_000.0)
VECTOR_KW = [4.2, 7.56, 10.5, 13.02, 15.12, 16.8, 18.06, 18.9, 19.32, 21.21]


@pytest.mark.parametrize(("n", "kw"), list(enumerate(VECTOR_KW, 1)))
def test_the_floor_of_one_to_ten_devices(n, kw):
    assert floor_w([BOX] * n) == pytest.approx(kw * 1000.0, abs=1e-6)


def test_the_trap_is_there_from_two_devices_on():
    least_w = 6.0 * 3 * 230.0
    assert [floor_w([BOX] * n) / n < least_w for n in range(1, 11)] == [False] + [True] * 9
    assert floor_w([BOX]) < 6.0 * 3 * 240.0


def test_small_devices_do_not_count_and_heat_pumps_count_once():
    small, pump = Device("charge_point", 4200.0), Device("heat_pump", 3000.0)
    assert floor_w([BOX, small]) == FLOOR_W
    assert floor_w([BOX, pump]) == FLOOR_W
    assert floor_w([BOX, pump, pump]) == pytest.approx(7560.0)
    with pytest.raises(ValueError, match="4200 W"):
        floor_w([small, pump])


def test_a_large_heat_pump_keeps_its_share_as_the_base():
    pump = Device("heat_pump", 20_000.0)
    assert floor_w([pump, BOX]) == pytest.approx(8000.0 + 0.8 * 4200.0)
    assert floor_w([pump, Device("cooling", 15_000.0)]) == pytest.approx(8000.0 + 0.8 * 4200.0)
    assert (direct_floor_w(pump), direct_floor_w(BOX)) == (8000.0, FLOOR_W)


def test_the_factor_ends_at_nine_devices():
    assert [simultaneity_factor(n) for n in (1, 2, 8, 9, 40)] == [1.0, 0.8, 0.5, 0.45, 0.45]
    with pytest.raises(ValueError, match="0 devices"):
        simultaneity_factor(0)
