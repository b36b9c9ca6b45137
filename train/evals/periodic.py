"""The recipe's evaluations of a CLIP while it trains."""

from __future__ import annotations

from models.clip import Clip
from models.tokenizer import Tokenizer
from openwit.errors import ConfigError
from train.config import PretrainConfig
from train.evals.config import EvaluateConfig
from train.evals.encoders import ALONE, Team
from train.evals.suite import Scores, Suite


class Periodic:
    """Evaluates the model of one training every so many steps; what it tests it on is read once."""

    def __init__(self, config: PretrainConfig, evals: EvaluateConfig | None) -> None:
        """Raises ConfigError where `evals` asks for nothing, InputError where an evaluation set cannot be read."""
        if evals is None or not (evals.zero_shot_set or evals.digits):
            raise ConfigError(
                f"eval_every={config.eval_every}: the section evaluate asks for nothing; write --evaluate.digits true, "
                f"name an --evaluate.zero_shot_set, or write --{config.section}.eval_every 0"
            )
        self.every = config.eval_every
        self._suite = Suite(evals)
        self._tokenizer = Tokenizer.of(config.model.text, config.merges)

    def run(self, model: Clip, team: Team = ALONE) -> Scores:
        """The scores of the weights as they are; every process of the team asks. Nothing of the training changes."""
        return self._suite.run(model, self._tokenizer, model.preprocess, team)
