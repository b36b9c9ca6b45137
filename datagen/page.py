"""HTML pages from the templates of datagen/templates: one file each, that asks nothing of the network.

The templates hold the HTML and page.css the looks; Python hands them values. Every value is escaped unless it is
Markup, as our own drawings are.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
_NUMBER = re.compile(r"n/a|(< )?[+−-]?\d[\d,]{0,15}(\.\d+)?%?( to \d[\d.]*%)?")


@dataclass(frozen=True)
class Drawing:
    """An SVG with its title and a line below."""

    title: str
    svg: Markup
    note: str


@cache
def environment() -> Environment:
    """The templates' environment: escapes, and fails where a template names a value that it was not given."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"cell": cell, "data_url": data_url}
    made.globals["numeric_columns"] = numeric_columns
    return made


def render(template: str, values: Mapping[str, object]) -> bytes:
    """The page as UTF-8; what has no UTF-8 (a lone surrogate) becomes a question mark."""
    return environment().get_template(template).render(values).encode("utf-8", "replace")


def cell(value: object) -> str:
    """A value as a table shows it: whole numbers with thousands separated."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def data_url(jpeg: bytes) -> str:
    """The image as an address that carries its bytes."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def numeric_columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[bool]:
    """Which columns hold numbers, shares and intervals only."""
    return [bool(rows) and all(_is_numeric(row[place]) for row in rows) for place in range(len(header))]


def _is_numeric(value: object) -> bool:
    return isinstance(value, int | float) or _NUMBER.fullmatch(str(value)) is not None


def svg(width: int, height: int, content: Sequence[str]) -> Markup:
    """A drawing of SVG elements, in the colours of page.css."""
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(content)}</svg>')


def svg_text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    """A label; `anchor` is start, middle or end."""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
