"""The contrastive loss."""

from __future__ import annotations

from train.loss.contrastive import contrastive_loss

__all__ = ["contrastive_loss"]
