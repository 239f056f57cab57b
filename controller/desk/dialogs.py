"""Ask before an order goes out, and explain the keys. The focus lies on Cancel: Enter by mistake orders nothing."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

KEYS = """\
1 2 3      feeder, chargers, loop
/          show only rows with this text; esc shows all
f          show only faults, or all again
up down    move the cursor; page up, page down, home, end; left and right show more columns
o          order a lower limit for the charger under the cursor: amps, or amps and minutes
r          release that order
?          this page
esc        close this page, leave the filter
q          leave the desk; the run goes on

+ is from the grid into the charger.  – is unknown, ∞ is no limit, 0 is zero.
An order may only lower what the law allows. It ends after 15 minutes unless you say otherwise."""


class Help(ModalScreen[None]):
    """Show the keys."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q", "dismiss", "close")]

    def compose(self) -> ComposeResult:
        """Lay out the page."""
        with Vertical(classes="dialog"):
            yield Static("keys", classes="title", markup=False)
            yield Static(KEYS, markup=False)


class Confirm(ModalScreen[bool]):
    """Ask whether an order is meant; True only from the button that says so."""

    AUTO_FOCUS = "#cancel"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "cancel", "cancel"),
        ("left", "app.focus_previous", ""),
        ("right", "app.focus_next", ""),
    ]

    def __init__(self, question: str, verb: str) -> None:
        super().__init__()
        self._question = question
        self._verb = verb

    def compose(self) -> ComposeResult:
        """Lay out question and buttons."""
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            with Horizontal():
                yield Button("Cancel", id="cancel")
                yield Button(self._verb, id="order", variant="warning")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer."""
        self.dismiss(event.button.id == "order")

    def action_cancel(self) -> None:
        """Answer no."""
        self.dismiss(False)
