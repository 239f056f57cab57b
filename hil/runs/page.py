"""Write the pieces of a self-contained HTML page: frame, tables, tiles. Every text is escaped here, and only here."""

import html
import math
from collections.abc import Iterable, Sequence

CSS = """
:root{color-scheme:light dark;--bg:#fff;--ink:#16181b;--muted:#62676e;--grid:#dfe2e6;--card:#f5f6f8;--blue:#0072b2;
--passed:#00694d;--failed:#b23c00;--not_exercised:#62676e;--inconclusive:#8a5a00}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--ink:#e6e8ea;--muted:#9aa1a9;--grid:#33383e;--card:#1d2125;
--blue:#2f8fd0;--passed:#3fc79a;--failed:#ff8a50;--not_exercised:#9aa1a9;--inconclusive:#e5b143}}
@media print{:root{color-scheme:light;--bg:#fff;--ink:#000;--muted:#444;--grid:#ccc;--card:#fff;--blue:#0072b2;
--passed:#00694d;--failed:#b23c00;--not_exercised:#555;--inconclusive:#7a5000}main{max-width:none!important;padding:0!important}
section{break-inside:avoid-page}details>*{display:block}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1180px;margin:0 auto;padding:32px 24px 64px}
header{display:flex;flex-wrap:wrap;gap:8px 24px;align-items:baseline;border-bottom:2px solid var(--ink);
padding-bottom:12px}
h1{font-size:26px;line-height:1.2;margin:0;letter-spacing:-.01em}
h2{font-size:18px;margin:40px 0 8px;letter-spacing:-.005em}
p{margin:4px 0 12px;max-width:78ch;color:var(--muted)}
.verdict{font-weight:700;white-space:nowrap}
.passed{color:var(--passed)}.failed{color:var(--failed)}
.not_exercised{color:var(--not_exercised)}.inconclusive{color:var(--inconclusive)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(168px,1fr));gap:12px;margin:20px 0 4px}
.tile{background:var(--card);border:1px solid var(--grid);border-radius:6px;padding:10px 14px}
.tile b{display:block;font-size:22px;line-height:1.25;font-weight:650}
.tile span,.tile small{color:var(--muted);font-size:12.5px;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;font-weight:600;color:var(--muted);border-bottom:1px solid var(--muted);padding:5px 12px 5px 0;
vertical-align:bottom;white-space:nowrap}
td{border-bottom:1px solid var(--grid);padding:5px 12px 5px 0;vertical-align:top}
.number{text-align:right;white-space:nowrap}
figure{margin:12px 0}
figure svg{width:100%;height:auto;display:block;color:var(--ink)}
figcaption{color:var(--muted);font-size:13px;max-width:90ch}
details{margin-top:8px}summary{cursor:pointer;color:var(--muted)}
"""
SYMBOLS = {"passed": "✓", "failed": "✗", "not_exercised": "○", "inconclusive": "?"}


class Raw(str):
    """Mark text that is HTML already."""

    __slots__ = ()


def text(value: object) -> str:
    """Return a value as HTML: escaped, unless it is Raw."""
    return str(value) if isinstance(value, Raw) else html.escape(str(value))


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """Return a number with its unit; — where it is unknown, ∞ where there is no limit."""
    if value is None or math.isnan(value):
        return "—"
    shown = ("∞" if value > 0 else "−∞") if math.isinf(value) else f"{value:,.{digits}f}".replace("-", "−")
    return f"{shown} {unit}".rstrip()


def badge(state: str) -> Raw:
    """Return a verdict's state, told by symbol and word as well as by colour."""
    words = html.escape(state.replace("_", " "))
    return Raw(f'<span class="verdict {html.escape(state)}">{SYMBOLS.get(state, "")} {words}</span>')


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> Raw:
    """Return a table; the columns whose index is in `numbers` are set flush right."""

    def cells(tag: str, row: Sequence[object]) -> str:
        aligned = (' class="number"' if k in numbers else "" for k in range(len(row)))
        return "".join(f"<{tag}{a}>{text(cell)}</{tag}>" for a, cell in zip(aligned, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    head = f"<thead><tr>{cells('th', headers)}</tr></thead>"
    return Raw(f'<div class="scroll"><table>{head}<tbody>\n{body}</tbody></table></div>')


def tiles(entries: Iterable[tuple[str, str, str]]) -> Raw:
    """Return key figures as tiles; an entry is (what it is, the figure, a note)."""
    parts = (
        f'<div class="tile"><span>{text(what)}</span><b>{text(figure)}</b><small>{text(note)}</small></div>'
        for what, figure, note in entries
    )
    return Raw(f'<div class="tiles">{"".join(parts)}</div>')


def figure(svg: str, caption: str) -> Raw:
    """Return a picture with its caption."""
    return Raw(f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>")


def section(title: str, *parts: object) -> Raw:
    """Return a section; a part that is plain text becomes a paragraph."""
    body = "".join(part if isinstance(part, Raw) else f"<p>{text(part)}</p>" for part in parts)
    return Raw(f"<section><h2>{text(title)}</h2>{body}</section>\n")


def fold(summary: str, *parts: Raw) -> Raw:
    """Return parts that the reader opens."""
    return Raw(f"<details><summary>{text(summary)}</summary>{''.join(parts)}</details>")


def page(title: str, subtitle: Raw, sections: Iterable[Raw]) -> str:
    """Return the whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{CSS}</style></head>\n<body><main>"
        f"<header><h1>{text(title)}</h1>{subtitle}</header>\n{''.join(sections)}</main></body></html>\n"
    )
