"""Use a finished run: its model and its data, from the folder alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from .check import check_config, check_keys, known_keys
from .errors import RefusedError, refusal
from .run_folder import CHANGEABLE, RunFolder, open_run, overrides

if TYPE_CHECKING:
    from pytorch_lightning import LightningDataModule, LightningModule


OWN_KEYS = ("run", "checkpoint", "input", "output")


class ChosenRun(NamedTuple):
    """A run folder, its config with the `changes` of the command line in it, and one of its checkpoints."""

    folder: RunFolder
    cfg: DictConfig
    checkpoint: Path
    changes: list[str]


class LoadedRun(NamedTuple):
    """The model in eval mode on the CPU, and the datamodule, not yet set up."""

    model: "LightningModule"
    datamodule: "LightningDataModule"


def load_run(folder: str | Path, checkpoint: str = "best") -> LoadedRun:
    """Model and datamodule of a run, as in `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path. Raises RefusedError where folder or checkpoint is not there.
    """
    from .build import build

    run, cfg = open_run(str(folder))
    check_config(cfg)
    return LoadedRun(load_model(cfg, run.checkpoint(checkpoint)), build(cfg.datamodule))


def load_model(cfg: DictConfig, checkpoint: Path) -> Any:
    """The model class of the config with the hyper-parameters and weights of the checkpoint, which runs no code."""
    from hydra.utils import get_class

    model_class: Any = get_class(cfg.model._target_)
    return model_class.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()


def choose_run(cfg: DictConfig) -> ChosenRun:
    """What `run`, `checkpoint` and the other keys given to evaluate.py and predict.py mean. No torch, no work.

    Raises RefusedError where the run or the checkpoint is not there, its config names what it may not (a run folder may
    come from anywhere), or an override concerns the training.
    """
    check_keys(cfg, known_keys())
    options = {key: "???" if OmegaConf.is_missing(cfg, key) else cfg[key] for key in map(str, cfg) if key in OWN_KEYS}
    folder, saved = open_run(str(options["run"]))
    if "input" in options and not Path(str(options["input"])).exists():
        raise refusal("input", options["input"], "no such file or folder")
    changes = [word for word in overrides() if word.lstrip("+~").split("=")[0] not in OWN_KEYS]
    for word in changes:
        if not word.lstrip("+~").startswith(CHANGEABLE):
            raise RefusedError(f"{word}: of a finished run only {', '.join(CHANGEABLE)} can be changed")
    saved.trainer.update({"devices": 1, "num_nodes": 1, "strategy": "auto"})
    saved = apply_overrides(saved, cfg, changes)
    check_config(saved)
    return ChosenRun(folder, saved, folder.checkpoint(str(options["checkpoint"])), changes)


def apply_overrides(saved: DictConfig, composed: DictConfig, changes: list[str]) -> DictConfig:
    """The saved config of a run with what the command line names: `datamodule=image_folder`, `trainer.devices=2`.

    Each named key is taken from `composed`, the config that Hydra made of today's files and that command line.
    """
    with open_dict(saved):
        for override in OverridesParser.create().parse_overrides(changes):
            key = override.key_or_group.replace("/", ".")
            if override.is_delete():
                OmegaConf.update(saved, key, None, merge=False)
            else:
                OmegaConf.update(saved, key, OmegaConf.select(composed, key), merge=False)
    return saved
