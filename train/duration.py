"""How long a training lasts, as recipes say it: "390625 steps", "12.8e9 samples" or "32 epochs"; light to import."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from openwit.errors import ConfigError

UNITS = ("steps", "samples", "epochs")


@dataclass(frozen=True)
class Duration:
    """A number of one of UNITS."""

    number: float
    unit: str

    def steps(self, batch_pairs: int, steps_per_epoch: int) -> int:
        """The nearest number of optimizer steps, at least 1, for a data set that gives so many steps an epoch."""
        one_step = {"steps": 1, "samples": batch_pairs, "epochs": 1 / steps_per_epoch}[self.unit]
        return max(1, round(self.number / one_step))


def parse_duration(text: str) -> Duration:
    """Raises ConfigError where the text is no duration, with an example of one."""
    match = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:e[0-9]+)?) ([a-z]+)", text.strip())
    if match is None or match[2] not in UNITS:
        raise ConfigError(f'duration={text}: expected a number and one of {", ".join(UNITS)}, e.g. "32 epochs"')
    number = float(match[1])
    if not 0 < number < math.inf or (match[2] == "steps" and not number.is_integer()):
        raise ConfigError(f"duration={text}: must be more than 0 and finite, and steps a whole number")
    return Duration(number, match[2])
