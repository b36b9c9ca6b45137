"""HTML pages from the templates of datagen/templates: one file each, that asks nothing of the network.

The templates hold the HTML and page.css the looks; Python hands them values. Every value is escaped unless it is
Markup, as our own drawings are.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from openwit.log.text_table import cell, numeric_columns

TEMPLATES = Path(__file__).parent / "templates"


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


def data_url(jpeg: bytes) -> str:
    """The image as an address that carries its bytes."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def svg(width: int, height: int, content: Sequence[str]) -> Markup:
    """A drawing of SVG elements, in the colours of page.css."""
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(content)}</svg>')


def svg_text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    """A label; `anchor` is start, middle or end."""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
