"""Draw a table line by line: only visible rows are drawn, only changed lines are drawn anew.

Text is never read as markup: a device that calls itself "[/]" is shown as that. The cursor stays on its row's key
when rows come and go.
"""

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from controller.desk.text import Cell, Column, Row

GROUND = Style(bgcolor="#10161d")
TONES = {
    "": Style(color="#d8dee9"),
    "dim": Style(color="#7b8794"),
    "good": Style(color="#8fbf7f"),
    "warn": Style(color="#e5b567"),
    "bad": Style(color="#ff6b6b", bold=True),
    "head": Style(color="#ffffff", bold=True),
}
HEADING = Style(color="#9fb3c8", bgcolor="#17202a", bold=True)
CURSOR = Style(bgcolor="#2b3f55")
GAP = 2


class Table(ScrollView, can_focus=False):
    """Show rows of cells under a fixed heading; `show` takes the rows, the cursor names one of them."""

    class Moved(Message):
        """Say that the cursor is on another row."""

    def __init__(self, columns: tuple[Column, ...], name: str) -> None:
        super().__init__(id=name)
        self.columns = columns
        self.rows: list[Row] = []
        self._key = ""
        self._width = sum(column.width + GAP for column in columns)

    @property
    def cursor(self) -> int:
        """Return the row under the cursor; 0 where its row has gone."""
        return next((y for y, row in enumerate(self.rows) if row.key == self._key), 0)

    @property
    def key(self) -> str:
        """Return the key of the row under the cursor; empty in an empty table."""
        return self.rows[self.cursor].key if self.rows else ""

    def show(self, rows: list[Row]) -> None:
        """Take new rows and draw what has changed of them."""
        before, cursor = self.rows, self.cursor
        self.rows = rows
        if len(before) != len(rows):
            self.virtual_size = Size(self._width, len(rows) + 1)
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, rows, strict=True)):
            if old != new:
                self.refresh_lines(y + 1, 1)
        if self.cursor != cursor:
            self.refresh_lines(cursor + 1, 1)
            self.refresh_lines(self.cursor + 1, 1)

    def move(self, by: int) -> None:
        """Move the cursor by so many rows, no further than the ends, and scroll it into view."""
        if not self.rows:
            return
        old = self.cursor
        new = min(max(old + by, 0), len(self.rows) - 1)
        self._key = self.rows[new].key
        self.refresh_lines(old + 1, 1)
        self.refresh_lines(new + 1, 1)
        page = max(self.size.height - 1, 1)
        top = int(self.scroll_offset.y)
        if not top <= new < top + page:
            self.scroll_to(y=new if new < top else new - page + 1, animate=False)
        self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the row that was clicked."""
        if event.y > 0 and self.rows:
            self.move(int(self.scroll_offset.y) + event.y - 1 - self.cursor)

    def render_line(self, y: int) -> Strip:
        """Draw one line of the viewport: the heading, which stays, or a row."""
        left, top = self.scroll_offset
        width = self.size.width
        at = top + y - 1
        if y == 0:
            cells, over = tuple(Cell(column.title) for column in self.columns), HEADING
        elif at < len(self.rows):
            cells, over = self.rows[at].cells, CURSOR if at == self.cursor else GROUND
        else:
            return Strip.blank(width, GROUND)
        return self._strip(cells, over).crop_extend(left, left + width, over)

    def _strip(self, cells: tuple[Cell, ...], over: Style) -> Strip:
        segments = []
        for column, cell in zip(self.columns, cells, strict=True):
            text = cell.text if len(cell.text) <= column.width else cell.text[: column.width - 1] + "…"
            text = text.rjust(column.width) if column.right else set_cell_size(text, column.width)
            segments.append(Segment(text, TONES[cell.tone] + over))
            segments.append(Segment(" " * GAP, over))
        return Strip(segments)
