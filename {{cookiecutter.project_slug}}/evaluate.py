"""Measure a finished run: python evaluate.py run=runs/<name> (--help lists the options)."""

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

OPTIONS = {
    "defaults": ["train", "_self_"],
    "run": "???",  # the run's folder
    "checkpoint": "best",  # best, last or a path
}
ConfigStore.instance().store("evaluate", OPTIONS)


@hydra.main(version_base="1.3", config_path="configs", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from {{ cookiecutter.package_name }}.engine.console import front_door
    from {{ cookiecutter.package_name }}.engine.evaluate import evaluate

    front_door(lambda cfg: evaluate(cfg, list(HydraConfig.get().overrides.task)), cfg)


if __name__ == "__main__":
    main()
