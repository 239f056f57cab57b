"""The desk at its keys: screens, filters, orders that only lower, old numbers, hostile names, golden pictures."""

import math

import pytest
from desk_street import UTC_NS, write_site
from textual.widgets import Button

from controller.desk import rows
from controller.desk.__main__ import main, svg
from controller.desk.app import Desk
from controller.desk.dialogs import Confirm, Help
from controller.desk.orders import mailbox_post
from controller.runtime.mailbox import Mailbox
from controller.runtime.window import Window

UTC_S = UTC_NS // 1_000_000_000


def texts(desk: Desk) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in desk.table.rows]


def plain(desk: Desk, where: str) -> str:
    return desk.query_one(where).shown[0]


@pytest.mark.parametrize("name", ["feeder", "chargers", "loop"])
def test_the_screen_looks_as_it_did(seat, golden, name):
    async def scene(desk, pilot):
        golden(name, svg(desk))

    seat(scene, first=name)


def test_old_numbers_look_as_they_did(seat, golden):
    async def scene(desk, pilot):
        golden("stale", svg(desk))

    seat(scene, late_s=12.3)


def test_keys_change_the_screen(seat):
    async def scene(desk, pilot):
        for key, name in (("1", "feeder"), ("3", "loop"), ("2", "chargers")):
            await pilot.press(key)
            assert desk.query_one("#screens").current == name
        assert texts(desk)[0][:6] == ["cp01", "house1", "C", "0.991", "31.5", "32.0"]
        await pilot.press("question_mark")
        assert isinstance(desk.screen, Help)
        await pilot.press("1")
        assert desk.now == "chargers"
        await pilot.press("escape")
        assert not isinstance(desk.screen, Help)

    seat(scene)


def test_columns_that_do_not_fit_are_reached(seat):
    async def scene(desk, pilot):
        await pilot.resize_terminal(60, 26)
        await pilot.press("right", "right")
        assert desk.table.scroll_offset.x == 16
        await pilot.press("left", "left", "left")
        assert desk.table.scroll_offset.x == 0

    seat(scene)


def test_rows_say_what_binds_and_where(window):
    window.refresh()
    bound = [row.cells[6].text for row in rows.charger_rows(window)]
    assert bound == [
        "wish",
        "order 10.0 A @ head",
        "voltage 12.2 A",
        "link lost 0.0 A",
        "window 6.0 A #0",
        "car 32.0 A",
    ]
    assert [row.fault for row in rows.charger_rows(window)] == [False, False, False, True, False, False]
    head = rows.feeder_rows(window)[1]
    assert head.cells[0].text == "  head"
    assert head.cells[8].text == "40.0 kW until 18:00:26"
    assert head.fault  # its amps are held, not believed


def test_an_order_that_is_bad_or_yet_to_come_says_so(window):
    window.refresh()
    window.input.order_quality[1] = 2
    assert rows.feeder_rows(window)[1].cells[8].text == "? 40.0 kW until 18:00:26"
    window.input.order_quality[1] = 0
    window.input.order_from_s[1] = UTC_S + 60
    assert rows.feeder_rows(window)[1].cells[8].text == "40.0 kW from 17:01:36"
    window.input.order_w[1] = 0.0
    window.input.order_from_s[1] = math.nan
    window.input.order_to_s[1] = math.nan
    assert rows.feeder_rows(window)[1].cells[8].text == "0.0 kW"


def test_filters_keep_rows_and_escape_shows_all(seat):
    async def scene(desk, pilot):
        await pilot.press("f")
        assert [row[0] for row in texts(desk)] == ["cp04"]
        assert "only faults" in plain(desk, "#header")
        await pilot.press("f", "slash", *"HOUSE2", "enter")
        assert [row[0] for row in texts(desk)] == ["cp02"]
        await pilot.press("escape")
        assert len(desk.table.rows) == 6

    seat(scene)


def test_a_hostile_name_is_shown_and_not_obeyed(seat):
    async def scene(desk, pilot):
        await pilot.press("end")
        assert desk.table.key == "c5"
        shown = texts(desk)[5][0]
        assert shown == "[/] [red]·[2J"
        assert shown in plain(desk, "#chain")
        await pilot.press("o", *"6", "enter")
        await pilot.press("tab", "enter")
        await pilot.pause()
        assert "\x1b" not in desk.export_screenshot()

    desk = seat(scene)
    assert desk.return_code in (0, None)


def test_the_cursor_stays_on_its_charger_when_rows_go(seat):
    async def scene(desk, pilot):
        await pilot.press("down", "down", "down")
        assert desk.table.key == "c3"
        await pilot.press("f")
        assert desk.table.cursor == 0
        assert desk.table.key == "c3"
        await pilot.press("escape")
        assert desk.table.cursor == 3

    seat(scene)


def test_an_order_asks_first_and_enter_by_mistake_orders_nothing(seat, posted):
    async def scene(desk, pilot):
        await pilot.press("down", "o", *"6 30", "enter")
        assert isinstance(desk.screen, Confirm)
        assert desk.screen.focused.id == "cancel"
        await pilot.press("enter")
        assert posted.orders == []
        await pilot.press("o", *"6 30", "enter")
        await pilot.press("tab")
        assert isinstance(desk.screen.focused, Button)
        await pilot.press("enter")
        await pilot.pause()
        kind, index, value_a, until_s, by = posted.orders[0]
        assert (kind, index, value_a, until_s) == ("override", 1, 6.0, UTC_S + 1800)
        assert by.startswith("desk:")
        await pilot.press("r", "tab", "enter")
        await pilot.pause()
        assert posted.orders[1][:2] == ("release", 1)

    seat(scene)


@pytest.mark.parametrize("typed", ["40", "-1", "nan", "six", "6 0", "6 30 1", ""])
def test_what_is_no_lower_limit_is_refused(seat, posted, typed):
    async def scene(desk, pilot):
        await pilot.press("o")
        desk.query_one("#entry").value = typed
        await pilot.press("enter")
        await pilot.pause()
        assert not isinstance(desk.screen, Confirm)

    seat(scene)
    assert posted.orders == []


def test_a_read_only_desk_orders_nothing(seat, posted):
    async def scene(desk, pilot):
        await pilot.press("o", "r")
        assert not desk.query_one("#entry").display
        assert len(desk.screen_stack) == 1

    seat(scene, read_only=True)
    assert posted.orders == []


def test_ctrl_q_does_not_leave_and_q_does(seat):
    left = []

    async def scene(desk, pilot):
        await pilot.press("ctrl+q")
        left.append(desk._exit)
        await pilot.press("q")
        left.append(desk._exit)

    seat(scene)
    assert left == [False, True]


@pytest.mark.parametrize(("late_s", "warned"), [(0.0, False), (0.45, False), (0.6, True), (3600.0, True)])
def test_numbers_older_than_three_periods_are_announced(seat, late_s, warned):
    async def scene(desk, pilot):
        assert desk.query_one("#stale").display is warned

    seat(scene, late_s=late_s)


def test_without_a_scan_without_timing_and_ports_the_desk_still_opens(tmp_path):
    site = write_site(tmp_path)
    for name in ("timing.img", "wires.img"):
        site.store(name).unlink()
    window = Window.attach(tmp_path / "site.json")
    window.refresh()
    assert rows.port_rows(window) == []
    assert "no timing figures yet" in rows.loop_lines(window)[0][0].text


def test_bars_show_the_one_miss(window):
    window.refresh()
    drawn = rows.bars(window.timing.wake.counts)
    assert len(drawn) == 70
    assert drawn[(4 * 10) + 0] != " "  # 12 ms: the fifth decade
    assert drawn.count(" ") > 60


def test_orders_go_through_the_runs_mailbox(window, site):
    mailbox_post(window)("override", 2, value_a=8.0, until_s=math.nan, owner="desk:test")
    order = Mailbox.attach(window.orders_path).drain()[0]
    assert (order.kind, order.index, order.value_a, order.owner) == ("override", 2, 8.0, "desk:test")


def test_a_picture_is_written_and_a_missing_run_is_named(window, tmp_path, capsys):
    out = tmp_path / "desk.svg"
    assert main([str(tmp_path / "site.json"), "--screenshot", str(out), "--screen", "feeder"]) == 0
    assert "transformer" in out.read_text()
    assert "@font-face" not in out.read_text()  # a picture fetches nothing
    assert main([str(tmp_path / "gone.json")]) == 3
    assert "gone.json: no such file" in capsys.readouterr().err


def test_a_charger_that_another_master_overwrites_is_a_fault_in_the_port_table(window):
    window.refresh()
    assert [row.fault for row in rows.port_rows(window)][:2] == [False, False]
    window.ports["overwritten_a"][1] = 32.0
    row = rows.port_rows(window)[1]
    assert row.fault and row.cells[-1].text == "overwritten: 32.0 A by another master"
