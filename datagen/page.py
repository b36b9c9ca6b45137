"""The frame of the HTML reports: one file that asks nothing of the network and reads well on a phone and at night."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence

_NUMBER = re.compile(r"n/a|(< )?[+−-]?\d[\d,]{0,15}(\.\d+)?%?( to \d[\d.]*%)?")
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --paper: #fcfcfd; --card: #fff; --line: #e0e1e6;
  --bar: #3e63dd; --bar-soft: #b9c8fb; }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba; --paper: #111113; --card: #18191b;
  --line: #363a3f; --bar: #9eb1ff; --bar-soft: #3a4f97; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { max-width: 46rem; } .soft, figcaption, th { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); }
th { text-align: left; font-weight: 500; }
td.n, th.n { text-align: right; } td { overflow-wrap: break-word; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.4rem; line-height: 1.25; } .tile span { color: var(--soft); font-size: .85rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem; margin: 0; }
.card h3 { margin-top: 0; } .narrow { max-width: 46rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .7rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: .7rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .5rem;
  min-width: 0; }
figure img { width: 100%; aspect-ratio: 1; object-fit: contain; background: #fff; border-radius: .35rem;
  display: block; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; }
figcaption { font-size: .8rem; line-height: 1.35; margin-top: .4rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
svg .bar { fill: var(--bar); } svg line { stroke: var(--line); }
svg polyline { fill: none; stroke-width: 2; } .before { stroke: var(--bar-soft); } .after { stroke: var(--bar); }
.key { display: inline-block; width: 1.1rem; height: .2rem; vertical-align: middle; }
.key.before { background: var(--bar-soft); } .key.after { background: var(--bar); margin-left: .8rem; }
h3 { font-size: .95rem; font-weight: 600; margin: 1.2rem 0 .4rem; }
.note { font-size: .85rem; color: var(--soft); margin: .4rem 0 0; }
.bars { margin-bottom: 1rem; } .row { display: flex; flex-wrap: wrap; justify-content: space-between; margin: .5rem 0; }
.row .n { color: var(--soft); font-variant-numeric: tabular-nums; }
.track { position: relative; flex-basis: 100%; height: .9rem; margin-top: .15rem; }
.track i, .track b { position: absolute; inset: 0 auto 0 0; border-radius: .25rem; }
.track i { background: var(--bar-soft); } .track b { background: var(--bar); }
footer { margin-top: 3rem; font-size: .85rem; color: var(--soft); }
"""


def page(title: str, subtitle: str, body: Sequence[str], footer: str = "") -> bytes:
    """A whole HTML page; title, subtitle and footer are text, `body` is HTML."""
    foot = f"<footer>{escape(footer)}</footer>" if footer else ""
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>"
    )
    heading = f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(subtitle)}</p>'
    return "\n".join([head, "<body>", heading, *body, foot, "</body></html>\n"]).encode("utf-8", "replace")


def escape(text: object) -> str:
    """The text as HTML, also within quotes."""
    return html.escape(str(text), quote=True)


def tiles(entries: Sequence[tuple[str, str]]) -> str:
    """The main numbers: (number, what it is)."""
    cells = "".join(f'<div class="tile"><b>{escape(n)}</b><span>{escape(what)}</span></div>' for n, what in entries)
    return f'<div class="tiles">{cells}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; columns of numbers and percentages are set to the right, thousands separated."""
    numeric = [bool(rows) and all(_is_numeric(row[i]) for row in rows) for i in range(len(header))]
    css = [' class="n"' if right else "" for right in numeric]
    head = "".join(f"<th{c}>{escape(name)}</th>" for name, c in zip(header, css, strict=True))
    lines = (
        "<tr>" + "".join(f"<td{c}>{_cell(value)}</td>" for value, c in zip(row, css, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _is_numeric(value: object) -> bool:
    return isinstance(value, int | float) or _NUMBER.fullmatch(str(value)) is not None


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(value)


def image(data: bytes, alt: str, kind: str = "jpeg") -> str:
    """An image element that carries its bytes."""
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def figure(images: Sequence[str], caption: Sequence[object]) -> str:
    """One image, or several side by side, with lines of text below."""
    inner = images[0] if len(images) == 1 else f'<div class="pair">{"".join(images)}</div>'
    return f"<figure>{inner}<figcaption>{'<br>'.join(escape(line) for line in caption)}</figcaption></figure>"
