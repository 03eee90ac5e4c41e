"""Every yaml on disk composes, and what it names can be built."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import NO_LOGGER, ROOT, options
from omegaconf import DictConfig, OmegaConf
from starter import outputs

from {{ cookiecutter.package_name }}.engine.config.build import build
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule, build_model
from {{ cookiecutter.package_name }}.engine.training.trainer import build_all, build_trainer

GROUPS = sorted(path.name for path in (ROOT / "configs").iterdir() if path.is_dir())
Configure = Callable[..., DictConfig]


@pytest.mark.parametrize("option", options("trainer"))
def test_trainer_is_built(option: str, configure: Configure, tmp_path: Path) -> None:
    cfg = configure(f"trainer={option}")
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        with pytest.raises(RefusedError, match="gpu"):
            build(cfg.trainer)
    else:
        assert build(cfg.trainer).max_epochs == cfg.trainer.max_epochs


@pytest.mark.parametrize("option", options("callbacks"))
def test_callback_is_built(option: str, configure: Configure) -> None:
    nodes = configure(f"callbacks=[{option}]").callbacks
    assert [type(callback).__name__ for callback in build_all(nodes)] == [
        node._target_.rpartition(".")[2] for node in nodes.values()
    ]


@pytest.mark.parametrize("option", options("logger"))
def test_logger_is_built_or_names_the_pip_command(
    option: str, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nodes = configure(f"logger={option}").logger
    if importlib.util.find_spec(option) is None:
        with pytest.raises(RefusedError, match=f"{{ cookiecutter.__pip }} install -c constraints.txt {option}"):
            build_all(nodes)
    else:
        assert type(build_all(nodes)[0]).__name__ == nodes[option]._target_.rpartition(".")[2]


@pytest.mark.parametrize("option", options("experiment"))
def test_experiment_composes(option: str, configure: Configure) -> None:
    cfg = configure(f"experiment={option}")
    assert OmegaConf.missing_keys(cfg) == set()


@pytest.mark.parametrize("datamodule", options("datamodule"))
@pytest.mark.parametrize("model", options("model"))
def test_each_model_is_built_for_each_datamodule(model: str, datamodule: str, configure: Configure) -> None:
    cfg = configure(f"model={model}", f"datamodule={datamodule}", "datamodule.batch_size=3")
    data = build_datamodule(cfg)
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert len(outputs(build_model(cfg, data), batch)) == len(batch[0])


def test_every_option_on_disk_is_tested() -> None:
    tested = {"trainer", "callbacks", "logger", "experiment", "datamodule", "model"}
    assert set(GROUPS) <= tested


def test_metrics_csv_is_logged_beside_every_logger(configure: Configure, tmp_path: Path) -> None:
    from {{ cookiecutter.package_name }}.engine.runs.folder import RunFolder

    trainer, metrics_log = build_trainer(configure(*NO_LOGGER), RunFolder(tmp_path))
    assert [*trainer.loggers] == [metrics_log]
