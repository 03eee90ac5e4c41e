"""Evaluate a finished run on its test data, or on other data, leaving out samples that it was trained on.

Metrics are written to evaluation_<checkpoint>.json in the run folder, those of other data to
evaluation_<checkpoint>_on_<data>.json. A number is added if a file of that name holds another evaluation.

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
