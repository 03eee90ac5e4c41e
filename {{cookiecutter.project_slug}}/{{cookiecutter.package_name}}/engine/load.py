"""Use a finished run: its model and its data, from the folder alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import LightningDataModule, LightningModule


class LoadedRun(NamedTuple):
    """The model in eval mode on the CPU, and the datamodule, not yet set up."""

    model: "LightningModule"
    datamodule: "LightningDataModule"


def load_run(folder: str | Path, checkpoint: str = "best") -> LoadedRun:
    """Model and datamodule of a run, as in `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path. Raises RefusedError where folder or checkpoint is not there.
    """
    from .build import build
    from .run_folder import open_run

    run, cfg = open_run(str(folder))
    return LoadedRun(load_model(cfg, run.checkpoint(checkpoint)), build(cfg.datamodule))


def load_model(cfg: "DictConfig", checkpoint: Path) -> Any:
    """The model class of the config with the hyper-parameters and weights of the checkpoint, which runs no code."""
    from hydra.utils import get_class

    model_class: Any = get_class(cfg.model._target_)
    return model_class.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()


def apply_overrides(saved: "DictConfig", composed: "DictConfig", overrides: list[str]) -> "DictConfig":
    """The saved config of a run with what the command line names: `datamodule=image_folder`, `trainer.devices=2`.

    Each named key is taken from `composed`, the config that Hydra made of today's files and that command line.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf, open_dict

    with open_dict(saved):
        for override in OverridesParser.create().parse_overrides(overrides):
            key = override.key_or_group.replace("/", ".")
            if override.is_delete():
                OmegaConf.update(saved, key, None, merge=False)
            else:
                OmegaConf.update(saved, key, OmegaConf.select(composed, key), merge=False)
    return saved
