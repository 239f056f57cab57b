"""Seat the operator: feeder, chargers and loop of a running controller, and orders that only lower.

The desk is a process of its own. It copies images a few times a second and draws what has changed; it may hang or
die and the run goes on. Numbers that are no longer fresh are announced, not hidden.
"""

import asyncio
import math
import os
import signal
import time
from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import ContentSwitcher, Input, Static

from controller.desk import rows
from controller.desk.dialogs import Confirm, Help
from controller.desk.orders import Post, owner, read_order
from controller.desk.style import CSS
from controller.desk.table import TONES, Table
from controller.desk.text import Cell, Row, age, clean, clock, number
from controller.runtime.mailbox import MailboxError
from controller.runtime.window import Window

PERIOD_S = 0.4
STALE_PERIODS = 3
STALE_MIN_S = 0.5  # below it a host that stutters would make the warning blink
PAGE = 10
SCREENS = {"1": "feeder", "2": "chargers", "3": "loop"}
HINT = "1 feeder  2 chargers  3 loop   / filter  f faults  o order  r release  ? help  q leave"
HINT_READ_ONLY = "1 feeder  2 chargers  3 loop   / filter  f faults  ? help  q leave   (read-only)"


def line(cells: list[Cell]) -> Text:
    """Return cells as one line of rich text, never as markup."""
    text = Text()
    for cell in cells:
        text.append(cell.text, TONES[cell.tone])
    return text


class Desk(App[None]):
    """Show one run. `post` takes orders (None: read-only); `clock_ns` is the monotonic clock."""

    AUTO_FOCUS = None
    ENABLE_COMMAND_PALETTE = False
    TITLE = "voltbench desk"
    CSS = CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"screen_named('{name}')", name) for key, name in SCREENS.items()),
        Binding("slash", "filter", "filter"),
        Binding("f", "faults", "faults"),
        Binding("o", "order", "order"),
        Binding("r", "release", "release"),
        Binding("question_mark", "help", "help"),
        Binding("q", "quit", "leave"),
        Binding("ctrl+q", "hint", priority=True),
        Binding("escape", "all", "all"),
        Binding("left", "sideways(-8)", show=False),
        Binding("right", "sideways(8)", show=False),
        *(
            Binding(key, f"move({by})", show=False)
            for key, by in (
                ("up", -1),
                ("down", 1),
                ("pageup", -PAGE),
                ("pagedown", PAGE),
                ("home", -9999),
                ("end", 9999),
            )
        ),
    ]

    def __init__(
        self,
        window: Window,
        post: Post | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        first: str = "chargers",
    ) -> None:
        super().__init__()
        self.window = window
        self.now = first
        self._post = post
        self._clock_ns = clock_ns
        self._filter = ""
        self._faults = False
        self._asking: Callable[[str], None] | None = None

    def compose(self) -> ComposeResult:
        """Lay out header, warning, the screens and the line for typing."""
        yield Static(id="header", markup=False)
        yield Static(id="stale", markup=False)
        with ContentSwitcher(initial=self.now, id="screens"):
            yield Table(rows.FEEDER, "feeder")
            with Vertical(id="chargers"):
                yield Table(rows.CHARGERS, "charger_table")
                yield Static(id="chain", markup=False)
            with Vertical(id="loop"):
                yield Static(id="figures", markup=False)
                yield Table(rows.PORTS, "port_table")
        yield Input(id="entry")
        yield Static(HINT if self._post else HINT_READ_ONLY, id="hint", markup=False)

    def on_mount(self) -> None:
        """Start to follow the run; leave the terminal clean when asked to end."""
        self.query_one("#entry").display = False
        self.follow()
        self.set_interval(PERIOD_S, self.follow)
        if os.name == "posix":
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)

    @property
    def table(self) -> Table:
        """Return the table of the present screen."""
        return self.query_one(
            {"feeder": "#feeder", "chargers": "#charger_table", "loop": "#port_table"}[self.now], Table
        )

    def follow(self) -> None:
        """Copy what is new and draw the present screen."""
        self.window.refresh()
        age_s = self.window.age_s(self._clock_ns())
        self._put("#header", self._header())
        limit_s = max(STALE_PERIODS * self.window.site.period_s, STALE_MIN_S)
        stale = self.query_one("#stale", Static)
        stale.display = age_s > limit_s
        if stale.display:
            since = f"no scan for {age(age_s)}" if math.isfinite(age_s) else "no scan yet"
            self._put(
                "#stale",
                Text(f"OLD NUMBERS: {since}. What you see is the last scan, not the street now.", justify="center"),
            )
        shown = {"feeder": rows.feeder_rows, "chargers": rows.charger_rows, "loop": rows.port_rows}[self.now](
            self.window
        )
        self.table.show([row for row in shown if self._kept(row)])
        if self.now == "chargers":
            self._put("#chain", Text(self._chain()))
        elif self.now == "loop":
            self._put("#figures", Text("\n").join(line(cells) for cells in rows.loop_lines(self.window)))

    def _put(self, where: str, text: Text) -> None:
        """Draw a line only where it differs from what is there."""
        widget: Any = self.query_one(where, Static)
        if getattr(widget, "shown", None) != (text.plain, text.spans):
            widget.shown = (text.plain, text.spans)
            widget.update(text)

    def _header(self) -> Text:
        window = self.window
        utc_s, offset_s = int(window.input.utc_ns[0]) / 1e9, float(window.input.utc_offset_s[0])
        alarms = rows.alarm_names(window)
        cells = [
            Cell(f" {clean(window.site.name)} ", "head"),
            Cell(f" {clock(utc_s, offset_s)} local   scan {int(window.output.scan[0])}   "),
            Cell("no alarm" if not alarms else "ALARM " + ", ".join(alarms), "bad" if alarms else "good"),
        ]
        if self._faults or self._filter:
            kept = " ".join(
                filter(None, ("faults" if self._faults else "", repr(self._filter) if self._filter else ""))
            )
            cells.append(Cell(f"   only {clean(kept)}", "warn"))
        return line(cells)

    def _kept(self, row: Row) -> bool:
        if self._faults and not row.fault:
            return False
        wanted = self._filter.casefold()
        return not wanted or any(wanted in cell.text.casefold() for cell in row.cells)

    def _chosen(self) -> int | None:
        """Return the charger under the cursor; None on other screens and in an empty table."""
        key = self.table.key if self.now == "chargers" else ""
        return int(key[1:]) if key else None

    def _chain(self) -> str:
        i = self._chosen()
        if i is None:
            return ""
        ports = self.window.ports
        fault = clean(ports[i]["fault"].decode(errors="replace")) if ports is not None else ""
        return rows.chain_line(self.window, i) + (f"\n{fault}" if fault else "")

    def on_table_moved(self) -> None:
        """Show the chain of the row under the cursor."""
        self.follow()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave the keys to a dialogue while one is open."""
        return len(self.screen_stack) == 1 or action in ("hint", "focus_next", "focus_previous")

    def action_screen_named(self, name: str) -> None:
        """Show another screen."""
        self.now = name
        self.query_one(ContentSwitcher).current = name
        self.follow()

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.table.move(by)

    def action_sideways(self, by: int) -> None:
        """Show columns that do not fit."""
        self.table.scroll_to(x=self.table.scroll_offset.x + by, animate=False)

    def action_faults(self) -> None:
        """Show only what is wrong, or everything again."""
        self._faults = not self._faults
        self.follow()

    def action_all(self) -> None:
        """Leave typing and filters."""
        self._type_nothing()
        self._filter, self._faults = "", False
        self.follow()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help())

    def action_hint(self) -> None:
        """Say how the desk is left: a terminal's habit must not end a watch."""
        self.notify("q leaves the desk; the run goes on", markup=False)

    def action_filter(self) -> None:
        """Type a filter."""
        self._type("show only rows with ...", self._filter, self._take_filter)

    def action_order(self) -> None:
        """Type a lower limit for the charger under the cursor."""
        i = self._chosen()
        if self._post is None or i is None:
            self._refuse("this desk is read-only" if self._post is None else "put the cursor on a charger first (2)")
            return
        name = clean(self.window.site.charger_names[i])
        self._type(f"{name}: amps, or amps and minutes, e.g. 6 30", "", lambda typed: self._take_order(i, typed))

    def action_release(self) -> None:
        """Release the order for the charger under the cursor, after a question."""
        i = self._chosen()
        if self._post is None or i is None:
            self._refuse("this desk is read-only" if self._post is None else "put the cursor on a charger first (2)")
            return
        name = clean(self.window.site.charger_names[i])
        question = f"Release the operator's order for {name}? The law alone decides again."
        self.push_screen(Confirm(question, "Release"), lambda yes: self._send(yes, "release", i, math.nan, math.nan))

    def _take_filter(self, typed: str) -> None:
        self._filter = typed
        self.follow()

    def _take_order(self, i: int, typed: str) -> None:
        try:
            value_a, minutes = read_order(typed, float(self.window.plan.hard_max_a[i]))
        except ValueError as error:
            self._refuse(str(error))
            return
        utc_s = int(self.window.input.utc_ns[0]) / 1e9
        until_s = utc_s + 60.0 * minutes
        name, offset_s = clean(self.window.site.charger_names[i]), float(self.window.input.utc_offset_s[0])
        now_a = number(float(self.window.output.allowed_a[i]))
        question = f"Limit {name} to {number(value_a)} A until {clock(until_s, offset_s)}? It is allowed {now_a} A now."
        self.push_screen(Confirm(question, "Order"), lambda yes: self._send(yes, "override", i, value_a, until_s))

    def _send(self, yes: bool | None, kind: str, i: int, value_a: float, until_s: float) -> None:
        if not yes or self._post is None:
            return
        try:
            self._post(kind, i, value_a=value_a, until_s=until_s, owner=owner())
        except (MailboxError, OSError) as error:
            self._refuse(str(error))
            return
        self.notify(f"{kind} for {clean(self.window.site.charger_names[i])} posted", markup=False)

    def _refuse(self, why: str) -> None:
        self.notify(clean(why), severity="error", markup=False)

    def _type(self, prompt: str, value: str, take: Callable[[str], None]) -> None:
        entry = self.query_one("#entry", Input)
        entry.placeholder, entry.value, entry.display = prompt, value, True
        entry.focus()
        self._asking = take

    def _type_nothing(self) -> None:
        self.query_one("#entry", Input).display = False
        self.set_focus(None)
        self._asking = None

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand over what was typed."""
        take = self._asking
        self._type_nothing()
        if take is not None:
            take(event.value.strip())
