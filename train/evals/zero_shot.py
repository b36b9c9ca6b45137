"""Classification by the names of the classes alone (paper, section 3.1).

Shapes: C classes · P prompts · B images of a batch · D embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.text import TextTokenizer
from train.evals.config import ZeroShotConfig
from train.evals.encoders import ImageTextEncoder, batches, evaluation_mode

BATCH_TEXTS = 256


def classifier_weights(
    model: ImageTextEncoder, tokenizer: TextTokenizer, names: Sequence[str], prompts: Sequence[str]
) -> Tensor:
    """Unit vectors [C, D], one a class: the mean of its prompts' unit vectors, normalised again (the ensemble over
    the embedding space of section 3.1.4). {label} in a prompt becomes the name."""
    texts = [prompt.replace("{label}", name) for name in names for prompt in prompts]
    with evaluation_mode(model):
        rows = [
            model.encode_text(tokenizer.encode(texts[start : start + BATCH_TEXTS]).to(model.device)).float()
            for start in range(0, len(texts), BATCH_TEXTS)
        ]
    return F.normalize(torch.cat(rows).view(len(names), len(prompts), -1).mean(dim=1), dim=-1)


def predict(
    model: ImageTextEncoder, images: Iterable[Tensor], weights_CD: Tensor, config: ZeroShotConfig
) -> Iterator[Tensor]:
    """The best class [up to batch_images] of each of the preprocessed images [3, S, S], batch by batch as they are
    read; of equal scores the earlier class."""
    with evaluation_mode(model):
        for batch in batches(images, config.batch_images, model.device):
            scores_BC = model.encode_image(batch).float() @ weights_CD.T
            best_B1 = scores_BC.max(dim=1, keepdim=True).values
            classes_C = torch.arange(len(weights_CD), device=scores_BC.device)
            yield torch.where(scores_BC == best_B1, classes_C, len(weights_CD)).amin(dim=1).cpu()


def classes_above(
    model: ImageTextEncoder,
    tokenizer: TextTokenizer,
    images: Iterable[Tensor],
    labels: Sequence[str],
    names: Sequence[str],
    config: ZeroShotConfig,
) -> Tensor:
    """How many classes score above each image's own, int64 [number of images]; of equal scores the earlier class is
    above.

    `images` are preprocessed images [3, S, S], read as needed; `labels[i]`, one of `names`, goes with the i-th.
    Raises ValueError for an unknown label or as many images as there are not labels.
    """
    index = {name: i for i, name in enumerate(names)}
    if unknown := sorted(set(labels) - set(index)):
        raise ValueError(f"label {unknown[0]!r} is none of the {len(names)} class names")
    weights_CD = classifier_weights(model, tokenizer, names, config.prompts)
    truth = torch.tensor([index[label] for label in labels], dtype=torch.int64)
    return _above_truth(model, batches(images, config.batch_images, model.device), weights_CD, truth)


def accuracies(above: Tensor, labels: Sequence[str]) -> dict[str, float]:
    """Shares in [0, 1] of what `classes_above` gave: `top1`, `top5` and `mean_per_class` (top-1 within each class,
    averaged over the classes that occur). Raises ValueError where there are no images."""
    if not len(above):
        raise ValueError("0 images")
    hits = (above < 1).double()
    names = sorted(set(labels))
    index = {name: i for i, name in enumerate(names)}
    truth = torch.tensor([index[label] for label in labels], dtype=torch.int64)
    hits_C = torch.bincount(truth, weights=hits, minlength=len(names))
    return {
        "top1": hits.mean().item(),
        "top5": (above < 5).double().mean().item(),
        "mean_per_class": (hits_C / torch.bincount(truth)).mean().item(),
    }


def _above_truth(model: ImageTextEncoder, image_batches: Iterable[Tensor], weights_CD: Tensor, truth: Tensor) -> Tensor:
    above: list[Tensor] = []
    start = 0
    with evaluation_mode(model):
        for batch in image_batches:
            scores_BC = model.encode_image(batch).float() @ weights_CD.T
            own_B1 = truth[start : start + len(batch), None].to(scores_BC.device)
            if len(own_B1) < len(batch):
                raise ValueError(f"more images than the {len(truth)} labels")
            own_score_B1 = scores_BC.gather(1, own_B1)
            earlier_BC = torch.arange(len(weights_CD), device=scores_BC.device) < own_B1
            above_BC = (scores_BC > own_score_B1) | ((scores_BC == own_score_B1) & earlier_BC)
            if not scores_BC.isfinite().all():
                raise ValueError("the model's embeddings hold NaN or infinity")
            above.append(above_BC.sum(dim=1).cpu())
            start += len(batch)
    if start != len(truth):
        raise ValueError(f"{start} images for {len(truth)} labels")
    return torch.cat(above) if above else truth
