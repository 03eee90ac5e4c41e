"""Predict with a finished run. Predictions are written to predictions/ in the run folder, or to output=.

python predict.py run=runs/<name> input=<file or folder> [output=<file>] [checkpoint=best|last|<path>] [key=value ...]

python predict.py run=runs/first input=folder                        each file of a folder
python predict.py run=runs/first input=folder/file.png               one file
python predict.py run=runs/first input=folder output=out.csv         written elsewhere
python predict.py run=runs/first input=folder checkpoint=last        with the last checkpoint
python predict.py run=runs/first input=folder trainer.accelerator=cpu
"""

from {{ cookiecutter.package_name }}.engine.cli.command import command
from {{ cookiecutter.package_name }}.engine.cli.requests import ChosenRun


@command
def main(chosen: ChosenRun) -> None:
    from {{ cookiecutter.package_name }}.engine.training.inference import predict

    predict(chosen)


if __name__ == "__main__":
    main()
