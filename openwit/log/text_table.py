"""Tables as plain text, by rich: even columns that fit the terminal, or 80 columns where there is none.

Numbers stand to the right and are never cut: text is folded beside them, and where that is not enough, lines are longer
than the terminal. No colours and no control characters: the text is the same in a terminal, a file and a mail.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Sequence
from typing import Literal

from openwit.errors import printable

NUMBER = re.compile(r"n/a|(< )?[+−-]?\d[\d,]{0,15}(\.\d+)?%?( to \d[\d.]*%| [kMGT]?B)?")
NO_BREAK = "\u00a0"
_KEPT = "\ue000"  # stands for a no-break space while rich folds, which takes that for a space


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]], indent: int = 2) -> str:
    """The table as lines without a newline at the end, `indent` columns from the left. An empty header: none is
    shown. A cell's text is folded at its spaces, never at a no-break space, which is shown as a space."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=bool(header), padding=(0, 2, 0, 0))
    columns = max(map(len, (header, *rows)))
    for place, is_number in enumerate(numeric_columns(columns, rows)):
        name = header[place] if header else ""
        longest = max(len(name), *(len(cell(row[place])) for row in rows)) if is_number else None
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(name, justify=justify, no_wrap=is_number, min_width=longest, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value).replace(NO_BREAK, _KEPT)) for value in row))
    shown = io.StringIO()
    width = shutil.get_terminal_size().columns - indent
    console = Console(file=shown, width=width, color_system=None, force_terminal=False, legacy_windows=False)
    console.width = max(width, Measurement.get(console, console.options.update(width=10_000), table).minimum)
    console.print(table)
    lines = shown.getvalue().replace(_KEPT, " ").splitlines()
    return "\n".join(" " * indent + line.rstrip() for line in lines)


def cell(value: object) -> str:
    """A value as a table shows it: whole numbers with thousands separated, texts printable."""
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def numeric_columns(columns: int, rows: Sequence[Sequence[object]]) -> list[bool]:
    """Which of so many columns hold numbers, shares, sizes and intervals only; empty cells do not decide."""
    found = []
    for place in range(columns):
        values = [row[place] for row in rows if row[place] != ""]
        found.append(bool(values) and all(map(_is_numeric, values)))
    return found


def _is_numeric(value: object) -> bool:
    return isinstance(value, int | float) or NUMBER.fullmatch(str(value)) is not None
