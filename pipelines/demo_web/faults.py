"""What goes wrong on the embedded web: addresses that look like images and are none, or not quite."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from pipelines.demo_web.config import DemoWebConfig
from pipelines.demo_web.names import Motif
from pipelines.demo_web.render import format_of

Kind = Literal["missing", "error", "slow", "truncated", "cut", "html", "noai", "mirrored"]
HTML_POSING_AS_JPEG = (
    b"<!DOCTYPE html><html><head><title>Gone</title></head><body><p>This picture moved.</p></body></html>\n"
)


@dataclass(frozen=True)
class Fault:
    """A second address for an image that is shown elsewhere in the pages, answered as its kind says."""

    kind: Kind
    host: str
    path: str
    motif: Motif

    @property
    def url(self) -> str:
        """The whole address."""
        return f"http://{self.host}{self.path}"


def plan_faults(config: DemoWebConfig, shown: list[Motif], hosts: tuple[str, ...]) -> list[Fault]:
    """Every faulty address, at most one an image; their number is bounded by the images."""
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
    for kind, motif in zip(kinds, chosen, strict=False):
        ending = format_of(motif.key, config.seed) if kind == "mirrored" else "jpg"
        faults.append(Fault(kind, random.choice(hosts), f"/large/{motif.slug}.{ending}", motif))
    return faults


def stored_bytes(fault: Fault, motif: bytes) -> bytes | None:
    """The file behind the address, made from the image's file; None where the server has none."""
    if fault.kind in ("missing", "error"):
        return None
    if fault.kind == "html":
        return HTML_POSING_AS_JPEG
    if fault.kind == "truncated":
        return motif[: len(motif) * 2 // 5]
    return motif
