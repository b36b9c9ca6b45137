"""How a trained model is evaluated; light to import (no torch), for recipes and the command line's help."""

from __future__ import annotations

from dataclasses import dataclass, field

from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """Classification by the names of the classes alone (paper, section 3.1)."""

    prompts: tuple[str, ...] = ("a photo of a {label}.",)  # sentences around {label}; their embeddings are averaged
    batch_images: int = 64  # images encoded at once

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ConfigError("zero_shot.prompts=(): must hold at least one; write ('a photo of a {label}.',)")
        for prompt in self.prompts:
            if "{label}" not in prompt:
                raise ConfigError(
                    f"zero_shot.prompts={prompt!r}: lacks the place of the name; write {{label}} in it, and a sentence "
                    'with commas in double quotes, e.g. "a photo of a {label}, a type of pet."'
                )
        if self.batch_images < 1:
            raise ConfigError(f"zero_shot.batch_images={self.batch_images}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class LinearProbeConfig:
    """Logistic regression on frozen features (paper, section 3.2 and appendix A)."""

    seed: int = 0  # draws the validation split
    batch_images: int = 64  # images encoded at once

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"linear_probe.seed={self.seed}: must be 0 or more")
        if self.batch_images < 1:
            raise ConfigError(f"linear_probe.batch_images={self.batch_images}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which evaluations a trained model goes through."""

    zero_shot_set: str = ""  # parquet file of key, image, label; empty: no zero-shot evaluation
    zero_shot: ZeroShotConfig = field(default_factory=ZeroShotConfig)  # prompts and batches
    digits: bool = True  # whether a linear probe classifies scikit-learn's handwritten digits
    linear_probe: LinearProbeConfig = field(default_factory=LinearProbeConfig)  # split and batches
