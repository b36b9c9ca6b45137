"""openwit evaluate: zero-shot classification and a linear probe of the last checkpoint."""

from __future__ import annotations

import posixpath

from openwit import storage
from openwit.config import digest
from openwit.errors import InputError
from openwit.run import NotYet
from pipelines.session import Invocation, command_line
from train.checkpoints.layout import latest
from train.config import PretrainConfig
from train.evals.config import EvaluateConfig


def run_evaluate(invocation: Invocation) -> None:
    """Writes pretrain/evals/step-NNNNNNNN.json and prints the accuracies."""
    work, config, say = invocation.work, invocation.recipe.evaluate, invocation.log.say
    checkpoint = latest(storage.join(work, "pretrain", "checkpoints"))
    if checkpoint is None:
        if invocation.dry_run:
            raise NotYet("pretrain (it makes the checkpoint)")
        first = command_line(invocation, "pretrain")
        raise InputError(f"{work}/pretrain: no checkpoint to evaluate; run {first} first")
    step = posixpath.basename(checkpoint)
    url = storage.join(work, "pretrain", "evals", f"{step}.json")
    made_from = _made_from(config, work, checkpoint)
    done = storage.exists(url) and storage.read_json(url).get("made_from") == made_from
    if invocation.dry_run:
        say(f"evaluate: {step} {'done before' if done else 'to do'}")
        return
    if not done:
        storage.write_json(url, {"made_from": made_from, **_scores(config, checkpoint)})
    scores = storage.read_json(url)
    say(f"evaluate: {step}{' done before' if done else ''}")
    if "zero_shot" in scores:
        zero_shot = scores["zero_shot"]
        say(f"  zero-shot: top-1 {zero_shot['top1']:.1%}, top-5 {zero_shot['top5']:.1%}")
    if "digits" in scores:
        say(f"  linear probe on digits: {scores['digits']['accuracy']:.1%}")


def _made_from(config: EvaluateConfig, work: str, checkpoint: str) -> str:
    """Differs where the scores would: another model, another evaluation set, other prompts."""
    weights = storage.identity(storage.join(checkpoint, "model.safetensors"))
    images = storage.identity(config.zero_shot_set) if config.zero_shot_set else ""
    return digest(config.zero_shot, config.digits, config.linear_probe, weights, images)


def _scores(config: EvaluateConfig, checkpoint: str) -> dict[str, dict[str, float]]:
    from models.tokenizer.tokenizer import Tokenizer
    from train.checkpoints.checkpoints import load_model, load_state
    from train.evals.suite import Suite

    model = load_model(checkpoint)
    learned = load_state(checkpoint).config
    assert isinstance(learned, PretrainConfig)  # load_model takes no other
    return Suite(config).run(model, Tokenizer.of(model.config.text, learned.merges), model.preprocess)
