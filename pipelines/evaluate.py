"""openwit evaluate: zero-shot classification and a linear probe of the last checkpoint."""

from __future__ import annotations

from openwit import storage
from openwit.config import digest
from openwit.errors import InputError
from pipelines.cli import Invocation


def command(invocation: Invocation) -> None:
    """Writes pretrain/evals/step-NNNNNNNN.json and prints the accuracies."""
    from train.checkpoint_files import latest

    folder = storage.join(invocation.work, "pretrain")
    checkpoint = latest(storage.join(folder, "checkpoints"))
    if checkpoint is None:
        raise InputError(f"{folder}: no checkpoint; run openwit pretrain {invocation.recipe.name} first")
    print(checkpoint, digest(invocation.recipe.evaluate))
