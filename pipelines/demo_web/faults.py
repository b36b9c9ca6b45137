"""What goes wrong on the embedded web: addresses that look like pictures and are none, or not quite."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from pipelines.demo_web.config import DemoWebConfig
from pipelines.demo_web.names import Picture
from pipelines.demo_web.render import format_of

Kind = Literal["missing", "error", "slow", "truncated", "cut", "html", "noai", "mirrored"]
HTML_POSING_AS_JPEG = (
    b"<!DOCTYPE html><html><head><title>Gone</title></head><body><p>This picture moved.</p></body></html>\n"
)


@dataclass(frozen=True)
class Fault:
    """A second address for a picture that is shown elsewhere in the pages, answered as its kind says."""

    kind: Kind
    host: str
    path: str
    picture: Picture

    @property
    def url(self) -> str:
        """The whole address."""
        return f"http://{self.host}{self.path}"


def plan_faults(config: DemoWebConfig, shown: list[Picture], hosts: tuple[str, ...]) -> list[Fault]:
    """Every faulty address, at most one a picture; their number is bounded by the pictures."""
    wanted: dict[Kind, int] = {
        "missing": config.faults.missing,
        "error": config.faults.error,
        "slow": config.faults.slow,
        "truncated": config.faults.truncated,
        "cut": config.faults.cut,
        "html": config.faults.html,
        "noai": config.faults.noai,
        "mirrored": config.faults.mirrored,
    }
    kinds = [kind for kind, number in wanted.items() for _ in range(number)]
    random = Random(f"{config.seed}/faults")
    chosen = random.sample(shown, min(len(kinds), len(shown)))
    faults = []
    for kind, picture in zip(kinds, chosen, strict=False):
        ending = format_of(picture.key, config.seed) if kind == "mirrored" else "jpg"
        faults.append(Fault(kind, random.choice(hosts), f"/large/{picture.slug}.{ending}", picture))
    return faults


def stored_bytes(fault: Fault, picture: bytes) -> bytes | None:
    """The file behind the address, made from the picture's file; None where the server has none."""
    if fault.kind in ("missing", "error"):
        return None
    if fault.kind == "html":
        return HTML_POSING_AS_JPEG
    if fault.kind == "truncated":
        return picture[: len(picture) * 2 // 5]
    return picture
