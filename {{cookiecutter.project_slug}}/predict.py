"""Predict with a finished run: python predict.py run=runs/<name> input=<files> (--help lists the options)."""

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

OPTIONS = {
    "defaults": ["train", "_self_"],
    "run": "???",  # the run's folder
    "input": "???",  # a file or a folder
    "output": None,  # where to write; by default into the run's predictions/
    "checkpoint": "best",  # best, last or a path
}
ConfigStore.instance().store("predict", OPTIONS)


@hydra.main(version_base="1.3", config_path="configs", config_name="predict")
def main(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from {{ cookiecutter.package_name }}.engine.console import front_door
    from {{ cookiecutter.package_name }}.engine.predict import predict

    front_door(lambda cfg: predict(cfg, list(HydraConfig.get().overrides.task)), cfg)


if __name__ == "__main__":
    main()
