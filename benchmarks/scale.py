"""Memory over epochs, and time and memory over the size of the data.

    python benchmarks/scale.py      writes benchmarks/scale.md

The default run of a rendered project, by its own train.py: first for 200 epochs, then for three epochs of 1×, 10× and
100× the digits. Linux only: resident memory is read from /proc.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 10, 100)
EPOCHS = 200
SHOWN = (5, 50, 100, 150, 200)
# Added to the project as a user would add them: one callback, one dataset.
CALLBACK = """
import json
import resource
import time
from pathlib import Path

from pytorch_lightning import Callback


class Meter(Callback):
    def on_train_start(self, trainer, pl_module):
        self.start, self.resident = time.perf_counter(), []

    def on_train_epoch_end(self, trainer, pl_module):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident.append(pages * resource.getpagesize() / 2**20)

    def on_train_end(self, trainer, pl_module):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        seconds = time.perf_counter() - self.start
        content = {"seconds": seconds, "peak": peak, "resident": self.resident}
        Path(trainer.default_root_dir, "meter.json").write_text(json.dumps(content))
"""
DATAMODULE = """
from pydantic import PositiveInt

from .digits import DigitsDataModule
from .image_splits import LabelledImages


class RepeatedDigits(DigitsDataModule):
    def __init__(self, times: PositiveInt = 1, **options):
        super().__init__(**options)
        self.times = times

    def load_images(self):
        data = super().load_images()
        images = data.images.repeat(self.times, 1, 1, 1)
        return LabelledImages(images, data.targets.repeat(self.times), data.class_names, ids=range(len(images)))
"""


def metered(project: Path, name: str, *words: str) -> dict:
    """Return what the callback measured in a run."""
    meter = "++callbacks.meter={_target_:my_project.callbacks.meter.Meter}"
    command = [sys.executable, "train.py", f"name={name}", meter, *words]
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)
    return json.loads((project / "runs" / name / "meter.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "scale.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        (project / "my_project" / "callbacks" / "meter.py").write_text(CALLBACK)
        (project / "my_project" / "datamodules" / "repeated.py").write_text(DATAMODULE)
        long = metered(project, "long", f"trainer.max_epochs={EPOCHS}")
        target = "datamodule._target_=my_project.datamodules.repeated.RepeatedDigits"
        runs = {
            size: metered(project, f"x{size}", "trainer.max_epochs=3", target, f"datamodule.times={size}")
            for size in SIZES
        }
    one = runs[1]
    lines = [
        "# Scale\n",
        "The default run, 2 CPU cores, no GPU; made by `python benchmarks/scale.py`, which says how.\n",
        f"## Resident memory over {EPOCHS} epochs\n",
        "| after epoch | MB |",
        "|---|---|",
        *(f"| {epoch} | {long['resident'][epoch - 1]:,.0f} |" for epoch in SHOWN),
        "\n## Three epochs of more data\n",
        "| digits | training, s | times that of 1× | peak memory, MB | more than 1× |",
        "|---|---|---|---|---|",
        *(
            f"| {size}× | {run['seconds']:.1f} | {run['seconds'] / one['seconds']:.1f} "
            f"| {run['peak']:,.0f} | {run['peak'] - one['peak']:,.0f} |"
            for size, run in runs.items()
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
