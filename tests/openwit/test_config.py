from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.config import describe, digest, from_json, override, parse_value, to_json, type_name
from openwit.errors import ConfigError

WORDS = st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1).filter(lambda t: t.strip() == t)


@dataclass(frozen=True, kw_only=True)
class Network:
    width: int = 192  # of the tower, in numbers
    rate: float = 0.5  # of dropping
    kind: Literal["vit", "resnet"] = "vit"  # of tower
    patch: Literal[8, 16] = 16  # px
    marker: str = "#"  # what a '#' stands for

    def __post_init__(self) -> None:
        if self.width % 8:
            raise ConfigError(f"width={self.width}: must be a multiple of 8; try {self.width // 8 * 8}")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    steps: int = 100  # in all
    warmup: int = 10  # steps
    clip: float | None = None  # of the gradient's norm

    def __post_init__(self) -> None:
        if self.warmup > self.steps:
            raise ConfigError(f"warmup={self.warmup}: longer than steps={self.steps}")


@dataclass(frozen=True, kw_only=True)
class Training:
    network: Network = field(default_factory=Network)  # the image tower
    optimizer: Optimizer = field(default_factory=Optimizer)  # the steps


@dataclass(frozen=True, kw_only=True)
class Recipe:
    seed: int = 0  # of everything
    resume: bool = False  # from the last checkpoint
    name: str = "demo"  # of the run
    label: str | None = None  # beside the name
    languages: tuple[str, ...] = ("en",)  # of the dump
    sizes: tuple[int, ...] = ()  # px
    weights: tuple[float, ...] = (1.0,)  # a language
    training: Training = field(default_factory=Training)  # of the model


def failure(changes: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        override(Recipe(), changes)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@given(
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.text(),
    st.one_of(st.none(), WORDS.filter(lambda t: t.lower() not in ("none", "null"))),
    st.lists(WORDS),
    st.lists(st.integers()),
    st.lists(st.floats(allow_nan=False, allow_infinity=False)),
)
def test_every_value_comes_back_from_the_text_that_names_it(
    seed: int, resume: bool, name: str, label: str | None, words: list[str], sizes: list[int], weights: list[float]
) -> None:
    wanted = Recipe(
        seed=seed,
        resume=resume,
        name=name,
        label=label,
        languages=tuple(words),
        sizes=tuple(sizes),
        weights=tuple(weights),
    )
    changes = {
        "seed": str(seed),
        "resume": str(resume),
        "name": name,
        "label": str(label),
        "languages": ",".join(words),
        "sizes": ",".join(map(str, sizes)),
        "weights": ", ".join(map(repr, weights)),
    }
    got = override(Recipe(), changes)
    assert got == wanted
    assert all(type(a) is type(b) for a, b in zip(got.weights, wanted.weights, strict=True))


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([8, 16]), st.sampled_from(["vit", "resnet"]))
def test_json_gives_the_same_config_back(rate: float, patch: Literal[8, 16], kind: Literal["vit", "resnet"]) -> None:
    config = Recipe(training=Training(network=Network(rate=rate, patch=patch, kind=kind)), sizes=(2**70, -1))
    again = from_json(Recipe, to_json(config))
    assert again == config
    assert to_json(again) == to_json(config)
    assert type(again.training.network.rate) is float


def test_a_whole_float_and_an_integer_in_a_float_field_have_one_digest() -> None:
    assert digest(Network(rate=1)) == digest(Network(rate=1.0)) == digest(override(Network(), {"rate": "1"}))


def test_the_digest_does_not_move_between_versions_and_machines() -> None:
    assert digest(Recipe(), "text", 3, {"b": 1, "a": (2.5, None)}) == "1a1b2e34b1a30bc896c7ecb566b62a8a"


@given(st.text(), st.text())
def test_the_digest_tells_where_one_value_ends(a: str, b: str) -> None:
    assert (digest(a, b) == digest(a + b, "")) == (b == "")


def test_nested_fields_are_set_by_their_dotted_path_and_the_rest_stays() -> None:
    got = override(Recipe(seed=3), {"training.network.width": "256", "training.optimizer.clip": "1.5"})
    assert got.training.network.width == 256
    assert got.training.optimizer == Optimizer(clip=1.5)
    assert got.seed == 3
    assert override(got, {"training.optimizer.clip": "None"}).training.optimizer.clip is None


def test_fields_that_must_agree_can_change_together_in_any_order() -> None:
    for names in (("steps", "warmup"), ("warmup", "steps")):
        got = override(Optimizer(), {name: {"steps": "1000", "warmup": "500"}[name] for name in names})
        assert got == Optimizer(steps=1000, warmup=500)


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("sead", "--seed"),
        ("training.network.widht", "--training.network.width"),
        ("training.optimiser.clip", "--training.optimizer.clip"),
        ("width", "--training.network.width"),
        ("network.width", "--training.network.width"),
        ("seed.x", "seed has no fields"),
        ("training.network", "--training.network.width"),
        ("__class__", "unknown field"),
        ("", "unknown field"),
        (".", "unknown field"),
    ],
)
def test_an_unknown_field_is_answered_with_the_right_one(path: str, near: str) -> None:
    assert near in failure({path: "1"})


def test_a_section_and_its_field_at_once_is_refused_with_the_sections_fields() -> None:
    for changes in ({"training": "x", "training.network.width": "8"}, {"training.network.width": "8", "training": "x"}):
        assert failure(changes).startswith("--training: is a section; set one of its fields: --training.network")


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("seed", "many", "expected int"),
        ("seed", "1.5", "expected int"),
        ("seed", "1\n2", "expected int"),
        ("resume", "maybe", "expected true or false"),
        ("sizes", "1,x", "expected int"),
        ("weights", "1,", ""),
        ("training.network.rate", "nan", "finite"),
        ("training.network.rate", "-inf", "finite"),
        ("training.network.rate", "1e999", "expected float"),
        ("training.network.kind", "mlp", "one of vit, resnet"),
        ("training.network.patch", "32", "one of 8, 16"),
        ("training.optimizer.clip", "tight", "expected float"),
    ],
)
def test_a_value_of_another_type_names_field_value_and_type(path: str, text: str, expected: str) -> None:
    if not expected:
        assert override(Recipe(), {path: text}) == Recipe()
        return
    message = failure({path: text})
    assert message.startswith(f"--{path}=")
    assert expected in message


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("1", True), ("0", False)])
def test_bools_are_written_as_words_or_digits(text: str, value: bool) -> None:
    assert parse_value(bool, text, "x") is value


def test_what_the_config_refuses_is_said_with_the_section_before_it() -> None:
    assert failure({"training.network.width": "100"}) == "training.network.width=100: must be a multiple of 8; try 96"
    assert failure({"training.optimizer.warmup": "101"}).startswith("training.optimizer.warmup=101: longer")


@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_is_asked_for_the_answer_is_a_config_or_one_line(path: str, text: str) -> None:
    try:
        changed = override(Recipe(), {path: text})
    except ConfigError as error:
        message = str(error)
    else:
        message = f"{path} is one of {len(vars(changed))} fields"
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b'{"sead": 3}', "did you mean --seed"),
        (b'{"training": {"network": {"wdth": 8}}}', "training.network.wdth"),
        (b'{"seed": "x"}', "Recipe: Expected `int`"),
        (b'{"seed": 1', "Recipe: "),
        (b'{"name": "\xff"}', "Recipe: "),
        (b"", "Recipe: "),
        (b"[]", "Recipe: "),
        (b'{"training": {"network": {"width": 9}}}', "width=9"),
    ],
)
def test_json_of_another_shape_is_refused_in_one_line(data: bytes, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(Recipe, data)
    assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@dataclass(frozen=True, kw_only=True)
class Square:
    side: int = 1  # m
    color: str = "red"  # of paint


@dataclass(frozen=True, kw_only=True)
class Circle:
    radius: tuple[int, ...] = (1,)  # m, one or two
    color: str = "red"  # of paint


@dataclass(frozen=True, kw_only=True)
class Frame:
    width: int = 1  # m
    depth: int = 1  # m

    @classmethod
    def named(cls, name: str) -> Frame:
        if name != "wide":
            raise ConfigError(f"frame {name}: unknown")
        return cls(width=10)


@dataclass(frozen=True, kw_only=True)
class Painting:
    name: str  # of the work
    shape: Square | Circle = field(default_factory=Square)  # painted
    frame: Frame | None = None  # around it


@pytest.mark.parametrize(
    "painting",
    [
        Painting(name="a"),
        Painting(name="b", shape=Circle(radius=(2, 3))),
        Painting(name="c", shape=Square(side=7), frame=Frame(depth=9)),
    ],
)
def test_a_section_of_one_of_several_types_survives_json(painting: Painting) -> None:
    assert from_json(Painting, to_json(painting)) == painting


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"shape": {"side": 3}}', "Painting: Object missing required field `name` - at `$`"),
        (b'{"name": "a", "shape": {"side": "3"}}', "Painting: Expected `int`, got `str` - at `$.shape.side`"),
        (
            b'{"name": "a", "shape": {"radius": [1, "2"]}}',
            "Painting: Expected `int`, got `str` - at `$.shape.radius[1]`",
        ),
        (b'{"name": "a", "shape": {"radius": [1], "sides": 2}}', "Painting: unknown field shape.sides"),
        (b'{"name": "a", "shape": 3}', "Painting: Expected `object`, got `int` - at `$.shape`"),
    ],
)
def test_a_section_of_several_types_is_refused_by_the_nearest(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(Painting, data)
    assert str(caught.value).startswith(message)


def test_a_section_with_names_is_set_by_one_and_then_changed_further() -> None:
    painting = Painting(name="a", frame=Frame())
    assert override(painting, {"frame": "wide"}).frame == Frame(width=10)
    assert override(painting, {"frame.depth": "3", "frame": "wide"}).frame == Frame(width=10, depth=3)
    with pytest.raises(ConfigError, match="frame narrow: unknown"):
        override(painting, {"frame": "narrow"})
    with pytest.raises(ConfigError, match="--shape: is a section"):
        override(painting, {"shape": "square"})


def test_json_without_a_field_gives_its_default() -> None:
    assert from_json(Recipe, b'{"seed": 3}') == Recipe(seed=3)


def test_describe_lists_every_field_with_type_value_and_the_comment_behind_it() -> None:
    entries = {entry.path: entry for entry in describe(Recipe(seed=7))}
    assert list(entries)[:2] == ["seed", "resume"]
    assert (entries["seed"].value, entries["seed"].type, entries["seed"].help) == (7, "int", "of everything")
    assert entries["training.network.marker"].help == "what a '#' stands for"
    assert entries["training.optimizer.clip"].type == "float or none"
    assert entries["languages"].type == "comma-separated texts"
    assert all(entry.help for entry in entries.values())


def test_every_described_path_can_be_set_to_the_value_that_it_shows() -> None:
    for entry in describe(Recipe()):
        value: Any = entry.value
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert override(Recipe(), {entry.path: text}) == Recipe()


def test_type_names_are_words() -> None:
    assert type_name(Literal["a", "b"]) == "one of a, b"
    assert type_name(int | None) == "int or none"
    assert type_name(bool) == "true or false"


def test_a_config_never_holds_what_json_cannot_write() -> None:
    with pytest.raises(AssertionError):
        digest(dataclasses.replace(Network(), rate=math.nan))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a photo of a {label}.,b", ("a photo of a {label}.", "b")),
        ('"a photo of a {label}, a type of pet."', ("a photo of a {label}, a type of pet.",)),
        ('"one, two", three ,"four"', ("one, two", "three", "four")),
        ('"say ""hello"", please",b', ('say "hello", please', "b")),
        ('["one, two", "three"]', ("one, two", "three")),
        (' [ "a" , "" ]', ("a", "")),
        ("[ab]*.csv,[c].csv", ("[ab]*.csv", "[c].csv")),
        ("[ab]", ("[ab]",)),
        ('5" pipe,b', ('5" pipe', "b")),
        ("[]", ()),
        ("", ()),
        (" , ", ()),
        ("[" * 200_000, ("[" * 200_000,)),
    ],
)
def test_an_item_of_a_list_may_hold_commas_in_quotes_or_json(text: str, found: tuple[str, ...]) -> None:
    assert override(Recipe(), {"languages": text}).languages == found


def test_lists_of_numbers_may_be_json_too() -> None:
    recipe = override(Recipe(), {"sizes": "[1, 2]", "weights": '[0.5, 2, "3"]'})
    assert (recipe.sizes, recipe.weights) == ((1, 2), (0.5, 2.0, 3.0))
    assert failure({"sizes": "[1, 2.5]"}) == "--sizes=2.5: expected int"


@pytest.mark.parametrize("text", ['"one, two', '"one" two', 'a,"b'])
def test_a_quote_that_does_not_close_its_item_says_how_to_write_it(text: str) -> None:
    assert f"--languages={text}: expected double quotes around each whole part" in failure({"languages": text})


@pytest.mark.parametrize(
    "data", [b"[" * 200_000, b'{"seed": ' * 200_000, b'{"training": ' + b"[" * 200_000 + b"]" * 200_000]
)
def test_json_nested_without_measure_is_a_config_error(data: bytes) -> None:
    with pytest.raises(ConfigError, match="Recipe: "):
        from_json(Recipe, data)
