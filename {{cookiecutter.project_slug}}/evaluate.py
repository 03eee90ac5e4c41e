"""Measure a finished run on its test data, or on all of other data but what it was trained on.

Metrics go to evaluation_<checkpoint>.json in its folder, of other data to evaluation_<checkpoint>_on_<data>.json; where
a file of that name is of another evaluation, a number is added.

python evaluate.py run=runs/<name> [checkpoint=best|last|<path>] [key=value ...]

python evaluate.py run=runs/first                                    the best checkpoint on the test data
python evaluate.py run=runs/first checkpoint=last                    the last one
python evaluate.py run=runs/first checkpoint=other/best.ckpt         one from elsewhere
python evaluate.py run=runs/first datamodule.root=<other data>       other data, whole
python evaluate.py run=runs/first datamodule.batch_size=8            with less memory
python evaluate.py run=runs/first trainer.accelerator=cpu            on the CPU
"""

from {{ cookiecutter.package_name }}.engine.cli.command import command
from {{ cookiecutter.package_name }}.engine.cli.requests import ChosenRun


@command
def main(chosen: ChosenRun) -> None:
    from {{ cookiecutter.package_name }}.engine.training.inference import evaluate

    evaluate(chosen)


if __name__ == "__main__":
    main()
