"""The training verbs: gendesign fit | fit-value | finetune | validate | test --config FILE, a LightningCLI.

A YAML file names module, data, callbacks and loggers by class_path and init_args; every value can be
overridden on the command line. A run that was killed is resumed by giving the same command again: the
shipped configs say `ckpt_path: last`. Checkpoints are read without unpickling code.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from gendesign.errors import ConfigError, GendesignError
from gendesign.training.parser_errors import TrainingParser, cause_of

VERBS = ("fit", "validate", "test")


class TrainingCLI(LightningCLI):
    """LightningCLI with `--init`, safe reading of checkpoints and a `--threads` of the CPU."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The three verbs."""
        data = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule", "weights_only"}
        return dict.fromkeys(VERBS, data)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Arguments beside Lightning's."""
        parser.add_argument(
            "--init",
            type=str,
            default=None,
            help="start from these pretrained weights: a shipped name, a folder or a hub id",
        )
        parser.add_argument("--threads", type=int, default=None, help="CPU threads of PyTorch")

    def before_instantiate_classes(self) -> None:
        """Threads are set before anything computes."""
        threads = self._get(self.config, "threads")
        if threads is not None:
            torch.set_num_threads(threads)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        given = super()._prepare_subcommand_kwargs(subcommand) | {"weights_only": True}
        init = self._get(self.config, "init")
        if init is not None:
            self._take_weights(init)
            if subcommand != "fit":
                given["ckpt_path"] = None
        if subcommand == "fit":
            self._refuse_other_run()
        return given

    def _refuse_other_run(self) -> None:
        """Refuse to continue a checkpoint of another model, other data or other initial weights."""
        saving = next((c for c in self.trainer.callbacks if isinstance(c, ModelCheckpoint)), None)  # type: ignore[attr-defined]
        if saving is None or saving.dirpath is None:
            return
        folder = Path(saving.dirpath)
        parts = {key: self._get(self.config, key) for key in ("model", "data", "init")}
        text = json.dumps({key: _plain(value) for key, value in parts.items()}, sort_keys=True, default=str)
        note = folder / "run.json"
        resumes = self._get(self.config, "ckpt_path") == "last" and any(folder.glob("last*.ckpt"))
        if resumes and note.exists() and note.read_text() != text:
            raise ConfigError(
                f"{folder} holds checkpoints of a run with another model, other data or other initial weights; "
                "delete it to start anew, or run in another folder"
            )
        if self.trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            note.write_text(text)

    def _take_weights(self, init: str) -> None:
        from gendesign.backbone import Backbone
        from gendesign.loading import load_backbone
        from gendesign.rewards.predictors import Predictor, load_predictor

        if isinstance(self.model, Predictor):
            self.model.load_weights(load_predictor(init))
        elif isinstance(self.model, Backbone):
            self.model.load_weights(load_backbone(init, temperature=1.0))
        else:
            raise ConfigError(
                f"--init continues a backbone or a predictor; the config's model is a {type(self.model).__name__}"
            )


def _plain(value: Any) -> Any:
    return value.as_dict() if hasattr(value, "as_dict") else value


def main(argv: Sequence[str]) -> int:
    """Run a training verb.

    Args:
        argv: the command line from the verb on, such as ["fit", "--config", "configs/train/dna_yeast_promoter.yaml"].

    Returns:
        The exit code.

    Raises:
        GendesignError: anything that the user can mend.
    """
    _quieten()
    words = list(argv)
    if words[:1] in (["fit-value"], ["finetune"]):  # a fit whose data are sampled
        words[0] = "fit"
    try:
        TrainingCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_class=TrainingParser,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            args=words,
        )
    except (ValueError, TypeError) as error:  # jsonargparse wraps what constructors raise
        cause = cause_of(error)
        if isinstance(error, UnicodeDecodeError):
            cause = ConfigError("the file given by --config is not text; expected a configuration in YAML")
        if cause is None:
            raise
        raise cause from error
    except SystemExit as error:  # Lightning shuts down in order on Ctrl-C, and then exits
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    return 0


def _quieten() -> None:
    """Keep what Lightning says of itself from hiding what it says of the run."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        # both the arguments given here and those of the process exist; here they are the same
        "LightningCLI's args parameter is intended",
        # a first run, whose config says `ckpt_path: last`, has no checkpoint yet
        r".*ckpt_path=.last.. is set, but there is no last checkpoint",
        r".*isinstance\(treespec, LeafSpec\)",
        ".*does not have many workers",
        # a policy has no dropout while it is fine-tuned
        r"Found \d+ module.* in eval mode at the start of training",
    ):
        warnings.filterwarnings("ignore", message=message)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sys.exit(main(sys.argv[1:]))
    except GendesignError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
