"""Tars of 25 samples as all sorts of programs write them, and their samples by WebDataset's own reader.

Sample n is a flat grey image of level 10 n, the caption "caption n", and img2dataset's notes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_iterator

NUM_SAMPLES = 25
KINDS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
Found = tuple[str, int, str]  # key, number of the image, caption
Member = tuple[str, bytes] | tarfile.TarInfo


@dataclass(frozen=True)
class OddTar:
    """What a tar holds, and how it is written."""

    name: str
    members: Sequence[Member]
    form: int = tarfile.USTAR_FORMAT
    headers: dict[str, str] = field(default_factory=dict)  # of the whole archive

    def write(self, path: Path) -> Path:
        """The tar at that path."""
        with tarfile.open(path, "w", format=self.form, pax_headers=self.headers or None) as tar:
            for member in self.members:
                info, content = (member, b"") if isinstance(member, tarfile.TarInfo) else _file(*member)
                tar.addfile(info, io.BytesIO(content))
        return path


def image(number: int, suffix: str = "jpg") -> bytes:
    """A flat grey image that says its number."""
    buffer = io.BytesIO()
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(np.full((16, 16, 3), 10 * number, np.uint8)).save(buffer, KINDS[suffix], **options)
    return buffer.getvalue()


def number_of(encoded: bytes) -> int:
    """The number that the image says."""
    return round(float(np.asarray(Image.open(io.BytesIO(encoded)).convert("L")).mean()) / 10)


def notes(number: int) -> dict[str, object]:
    """What key.json says of a sample."""
    uid, caption = f"{number:032x}", f"caption {number}"
    captions = [{"uid": uid, "caption": caption}]
    return {"uid": uid, "url": f"http://a.test/{number}.jpg", "caption": caption, "captions": captions}


def sample(
    stem: str, number: int, suffix: str = "jpg", changed: Mapping[str, object] = MappingProxyType({})
) -> list[tuple[str, bytes]]:
    """The three members of a sample; `changed` are fields of its notes, a None takes one away."""
    told = {name: value for name, value in {**notes(number), **changed}.items() if value is not None}
    texts = ((f"{stem}.json", json.dumps(told).encode()), (f"{stem}.txt", f"caption {number}".encode()))
    return [(f"{stem}.{suffix}", image(number, suffix)), *texts]


def samples(stem: Callable[[int], str], **changed: object) -> list[tuple[str, bytes]]:
    """The members of 25 samples of these names."""
    return [member for number in range(NUM_SAMPLES) for member in sample(stem(number), number, "jpg", changed)]


def expected(path: Path) -> list[Found]:
    """The samples as WebDataset finds them, files that only a Mac needs aside. The keys of the tables beside a tar have
    no leading ./"""
    with path.open("rb") as file:
        visible = tar_file_iterator(file, select_files=lambda name: not name.rpartition("/")[2].startswith("."))
        return [_found(entry) for entry in group_by_keys({**member, "__url__": str(path)} for member in visible)]


def _found(entry: dict[str, object]) -> Found:
    (encoded,) = (value for name, value in entry.items() if name in KINDS)
    key, text = entry["__key__"], entry["txt"]
    assert isinstance(key, str)
    assert isinstance(encoded, bytes)
    assert isinstance(text, bytes)
    return key.removeprefix("./"), number_of(encoded), text.decode()


def odd_tars() -> list[OddTar]:
    """All of them, by unlike names."""
    plain = samples(_name)
    return [
        OddTar("plain", plain),
        OddTar("dot_slash", samples(lambda n: f"./{n:05d}")),
        OddTar("folder", samples(lambda n: f"a/{n:05d}")),
        OddTar("folder_with_a_dot", samples(lambda n: f"part.1/{n:05d}")),
        OddTar("two_folders_in_turn", samples(lambda n: f"{'ab'[n % 2]}/{n // 2:05d}")),
        OddTar("two_folders_one_after_the_other", samples(lambda n: f"{'ab'[n // 13]}/{n % 13:05d}")),
        OddTar("two_folders_meet_in_one_name", samples(lambda n: f"{'ab'[n // 13]}/{n if n < 13 else 25 - n:05d}")),
        OddTar("second_image", [m for n in range(NUM_SAMPLES) for m in _with_thumbnail(n)]),
        OddTar("upper_case", [(stem + "." + s.upper(), data) for stem, s, data in _cut(plain)]),
        OddTar("all_suffixes", [m for n in range(NUM_SAMPLES) for m in sample(_name(n), n, list(KINDS)[n % 4])]),
        OddTar("image_last", [m for n in range(NUM_SAMPLES) for m in reversed(sample(_name(n), n))]),
        OddTar("unlike_lengths", samples(lambda n: f"{'x' * n}y{n}")),
        *_long_names(),
        *_between(plain),
        *_hidden(),
        *_notes(),
    ]


def _long_names() -> Iterator[OddTar]:
    deep = "/".join(["a" * 40] * 3)
    yield OddTar("pax_long_names", samples(lambda n: "x" * 120 + f"{n:05d}"), tarfile.PAX_FORMAT)
    yield OddTar("gnu_long_names", samples(lambda n: "x" * 120 + f"{n:05d}"), tarfile.GNU_FORMAT)
    yield OddTar("pax_long_folders", samples(lambda n: f"{deep}/{n:05d}"), tarfile.PAX_FORMAT)
    yield OddTar("gnu_long_folders", samples(lambda n: f"{deep}/{n:05d}"), tarfile.GNU_FORMAT)
    yield OddTar("ustar_long_folders", samples(lambda n: f"{deep}/{n:05d}"))
    yield OddTar("pax_other_letters", samples(lambda n: f"Bär 熊 {n:05d}"), tarfile.PAX_FORMAT)
    yield OddTar("pax_header_of_all", samples(_name), tarfile.PAX_FORMAT, {"comment": "made by hand"})
    for name, form in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        members: list[Member] = []
        for number in range(NUM_SAMPLES):
            members += [_special(f"{'d' * 120}{number}", tarfile.DIRTYPE), *_short(number)]
        yield OddTar(f"{name}_long_folder_before_a_file", members, form)


def _between(plain: Sequence[tuple[str, bytes]]) -> Iterator[OddTar]:
    """What is no file stands before every member."""
    for name, kind in (("folders", tarfile.DIRTYPE), ("symlinks", tarfile.SYMTYPE), ("hard_links", tarfile.LNKTYPE)):
        special = [_special("newest.jpg", kind, plain[0][0])] if kind != tarfile.DIRTYPE else [_special("d", kind)]
        members: list[Member] = [plain[0]]
        for member in plain[1:]:
            members += [*special, member]
        yield OddTar(f"{name}_between", members)


def _hidden() -> Iterator[OddTar]:
    def apple(folder: str) -> list[tuple[str, bytes]]:
        named = samples(_name)
        return [m for name, data in named for m in ((f"{folder}._{name}", b"\0\5\x16\7" * 16), (folder + name, data))]

    store = b"\0\0\0\1Bud1"
    yield OddTar("apple_double", apple(""))
    yield OddTar("apple_double_dot_slash", apple("./"))
    yield OddTar("apple_double_in_a_folder", apple("a/"))
    yield OddTar("ds_store_first", [(".DS_Store", store), *samples(_name)])
    yield OddTar("ds_store_between", [m for member in samples(_name) for m in ((".DS_Store", store), member)])
    in_folder = [m for member in samples(lambda n: f"a/{n:05d}") for m in (("a/.DS_Store", store), member)]
    yield OddTar("ds_store_in_a_folder", in_folder)


def _notes() -> Iterator[OddTar]:
    """Notes as img2dataset writes them of its users' tables."""
    yield OddTar("json_with_nan", samples(_name, similarity=float("nan")))
    yield OddTar("json_with_a_number_as_uid", samples(_name, uid=7, captions=None))
    without = [m for m in samples(_name, uid=None, captions=None) if not m[0].endswith(".json")]
    yield OddTar("no_json", without)
    yield OddTar("json_without_captions", samples(_name, uid=None, captions=None))
    texts = []
    for number in range(NUM_SAMPLES):
        texts += sample(_name(number), number, "jpg", {"uid": None, "captions": [f"caption {number}"]})
    yield OddTar("json_with_captions_as_texts", texts)


def _name(number: int) -> str:
    return f"{number:05d}"


def _short(number: int) -> list[tuple[str, bytes]]:
    return sample(_name(number), number)


def _with_thumbnail(number: int) -> list[tuple[str, bytes]]:
    return [*sample(_name(number), number), (f"{_name(number)}.small.jpg", image(24 - number))]


def _cut(members: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, str, bytes]]:
    for name, data in members:
        stem, _, suffix = name.partition(".")
        yield stem, suffix, data


def _file(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def _special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info
