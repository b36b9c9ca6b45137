from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.errors import (
    ConfigError,
    InputError,
    OpenwitError,
    WorkError,
    did_you_mean,
    one_line,
    printable,
    printable_lines,
)


@pytest.mark.parametrize(("kind", "code"), [(OpenwitError, 1), (ConfigError, 2), (InputError, 2), (WorkError, 1)])
def test_each_error_knows_the_commands_exit_code(kind: type[OpenwitError], code: int) -> None:
    assert kind("x").exit_code == code
    assert issubclass(kind, OpenwitError)


@given(st.text())
def test_a_message_is_one_line_whatever_it_quotes(text: str) -> None:
    assert len(f"{WorkError(text)}.".splitlines()) == 1
    assert one_line(one_line(text)) == one_line(text)


def test_an_error_survives_the_way_from_a_worker_to_the_driver() -> None:
    back = pickle.loads(pickle.dumps(InputError("a.tar: no\nsuch file")))
    assert isinstance(back, InputError)
    assert str(back) == "a.tar: no such file"


def test_the_nearest_name_is_offered_and_none_where_none_is_near() -> None:
    assert did_you_mean("pretrian", ["queries", "pretrain"]) == "; did you mean pretrain?"
    assert did_you_mean("xyz", ["queries", "pretrain"]) == ""
    assert did_you_mean("xyz", []) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\ufffd[2J\ufffd]0;title\ufffd"),
        ("C1: \x9b31m \x85 DEL: \x7f NUL: \0", "C1: \ufffd31m   DEL: \ufffd NUL: \ufffd"),
        ("a\tb\rc\nd\x0be", "a b c d e"),
        (
            "exe.\u202egpj\u202c \u2066x\u2069 \u200e\u200f\u061c",
            "exe.\ufffdgpj\ufffd \ufffdx\ufffd \ufffd\ufffd\ufffd",
        ),
        ("a\u2028b\u2029c\ufeff\ud800", "a b c\ufffd\ufffd"),
        ("größe 猫 عربي नमस्ते 👩‍🚀 👍🏽", "größe 猫 عربي नमस्ते 👩‍🚀 👍🏽"),
    ],
)
def test_what_a_terminal_would_obey_is_not_printed(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_printable_text_is_one_line_that_any_terminal_takes(text: str) -> None:
    shown = printable(text)
    assert len(f"{shown}.".splitlines()) == 1
    assert len(shown) == len(text)
    assert printable(shown) == shown
    assert shown.encode().decode() == shown
    assert printable_lines(f"{text}\n{text}").count("\n") == 2 * text.count("\n") + 1
    assert printable(one_line(text)) == one_line(text)
