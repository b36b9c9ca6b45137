"""How much the statistics show."""

from __future__ import annotations

from dataclasses import dataclass

from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StatisticsConfig:
    """How much the statistics show; the numbers themselves always come from every row."""

    gallery: int = 48  # sample pictures on the page
    rows: int = 15  # of the lists: hosts, reasons, the queries' head and tail

    def __post_init__(self) -> None:
        if self.gallery < 0:
            raise ConfigError(f"gallery={self.gallery}: must not be negative; 0 shows no pictures")
        if self.rows < 1:
            raise ConfigError(f"rows={self.rows}: must be at least 1")
