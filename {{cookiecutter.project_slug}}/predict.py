"""Predict with a finished run. What it predicts goes to predictions/ in its folder, or to output=.

python predict.py run=runs/<name> input=<file or folder> [output=<file>] [checkpoint=best|last|<path>] [key=value ...]

python predict.py run=runs/first input=folder                        each file of a folder
python predict.py run=runs/first input=folder/file.png               one file
python predict.py run=runs/first input=folder output=out.csv         written elsewhere
python predict.py run=runs/first input=folder checkpoint=last        with the last checkpoint
python predict.py run=runs/first input=folder trainer.accelerator=cpu
"""

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from {{ cookiecutter.package_name }}.engine.cli.command import checked, front_door

OPTIONS = {
    "defaults": ["train", "_self_"],
    "run": "???",  # the run's folder
    "input": "???",  # a file or a folder
    "output": None,  # where to write; by default into the run's predictions/
    "checkpoint": "best",  # best, last or a path
}
ConfigStore.instance().store("predict", OPTIONS)


@hydra.main(version_base="1.3", config_path="configs", config_name="predict")
@checked
def main(cfg: DictConfig) -> None:
    from {{ cookiecutter.package_name }}.engine.training.inference import predict

    predict(cfg)


if __name__ == "__main__":
    front_door(main, __file__)
