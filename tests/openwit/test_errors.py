from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.errors import ConfigError, InputError, OpenwitError, WorkError, did_you_mean, one_line


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
