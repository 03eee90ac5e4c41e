"""Train a model: python train.py (--help lists the options)."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from {{ cookiecutter.package_name }}.engine.console import front_door
    from {{ cookiecutter.package_name }}.engine.train import train

    hydra_cfg = HydraConfig.get()
    model_name, overrides = hydra_cfg.runtime.choices["model"], list(hydra_cfg.overrides.task)
    front_door(lambda cfg: train(cfg, model_name=model_name, overrides=overrides), cfg)


if __name__ == "__main__":
    main()
