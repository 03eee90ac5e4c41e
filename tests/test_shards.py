"""docs/shards.md, followed literally: the recipe with mosaicml-streaming resumes exactly with 0, 1 and 3 workers."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Bake, run, with_engine_tests
from PIL import Image
from sklearn.datasets import load_digits

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "shards.md").read_text(encoding="utf-8"), re.DOTALL)
# mosaicml-streaming and what its shards need; the rest of its requirements are for the stores of other companies,
# and torchvision from the registry does not import beside the CPU build of torch that the tests use.
PACKAGES = ("mosaicml-streaming==0.13.0", "brotli", "catalogue", "cramjam", "python-snappy", "tqdm", "xxhash", "zstd")
STUBS = {
    "streaming/__init__.py": "from streaming.base import MDSWriter, StreamingDataset\n",
    "transformers/__init__.py": "",
    "transformers/feature_extraction_utils.py": "class BatchFeature(dict): pass\n",
    "transformers/tokenization_utils_base.py": "class BatchEncoding(dict): pass\n",
}
# Trains undisturbed, then killed and resumed with each number of workers; prints what differs.
KILLED = """
import sys
from pathlib import Path
sys.path[:0] = ["tests", "."]
from killed import STEP, At, differences, final_state, train

if __name__ == "__main__":
    words = (*sys.argv[1:], "trainer.max_epochs=2", "save_minutes=0", "trainer.accelerator=cpu")
    folder = Path.cwd()
    def options(workers):
        limit = ["datamodule.cache_gb=1e-5"] if workers else []  # two shards
        return f"name=w{workers}", f"datamodule.num_workers={workers}", f"datamodule.local=local{workers}", *limit
    status, said = train(folder, *words, "name=whole", "datamodule.num_workers=0", "datamodule.local=local")
    assert status == 0, said
    assert "resuming is not exact" not in said
    for workers in (0, 1, 3):
        status, said = train(folder, *words, *options(workers), at=At(STEP, 13))  # of 8 in the second epoch, the fifth
        assert status == -9, said
        status, said = train(folder, *words, *options(workers))
        assert status == 0, said
        assert "Resuming from" in said
        kept = len([*(folder / f"local{workers}" / "train").glob("*.mds")])
        assert kept <= 3 if workers else kept > 4
        states = [final_state(folder / "runs" / name) for name in ("whole", f"w{workers}")]
        print("workers", workers, "differ:", differences(*states))
"""


def installed(folder: Path) -> Path:
    """Install mosaicml-streaming into a folder of its own, without what the recipe does not touch."""
    words = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *PACKAGES)
    done = run(sys.executable, *words, cwd=folder.parent)
    if done.returncode:
        pytest.skip(f"mosaicml-streaming can't be installed: {done.stderr.strip().splitlines()[-1]}")
    for name, text in STUBS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def write_images(root: Path) -> None:
    """160 scans of two digits, as PNG files in folders of splits and classes."""
    digits: Any = load_digits()
    for target, name in enumerate(("zero", "one")):
        for number, scan in enumerate(digits.images[digits.target == target][:80]):
            folder = root / ("train" if number < 60 else "val" if number < 70 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((scan * 255 / 16).astype(np.uint8)).save(folder / f"{number:02}.png")


@pytest.mark.long
def test_a_run_from_shards_resumes_exactly_with_any_number_of_workers(bake: Bake, tmp_path: Path) -> None:
    project = with_engine_tests(bake())
    packages = {"PYTHONPATH": str(installed(tmp_path / "packages")), "OMP_NUM_THREADS": "1"}
    write_images(project / "images")
    for _, text in BLOCKS:
        if named := re.match(r"# (\S+\.(?:py|yaml))\n", text):
            (project / named[1]).write_text(text[named.end() :].replace("64mb", "4kb"))  # 5 shards and more
    install, write, train = (shlex.split(text) for kind, text in BLOCKS if kind == "sh")
    assert install == ["pip", "install", "mosaicml-streaming"]
    done = run(sys.executable, *write[1:], cwd=project, **packages)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "class_counts: {one: 60, zero: 60}\n"
    assert done.stdout.strip() in (project / "configs" / "datamodule" / "streamed.yaml").read_text()
    short = ("datamodule.size=8", "datamodule.batch_size=16", "datamodule.block_size=32", "callbacks=[default]")
    assert run(sys.executable, *train[1:], *short, "trainer.max_epochs=1", cwd=project, **packages).returncode == 0
    shards = sorted(path.name for path in (project / "bucket" / "train").glob("*.mds"))
    assert len(shards) > 4
    assert sorted(path.name for path in (project / "shards" / "train").glob("*.mds")) == shards
    for words in (
        "evaluate.py run=runs/streamed",
        "predict.py run=runs/streamed input=images/test/zero",
        "-m pytest -n 0 -p no:cacheprovider tests/test_datamodules.py -k streamed",
    ):
        done = run(sys.executable, *words.split(), cwd=project, **packages)
        assert done.returncode == 0, done.stdout + done.stderr
    (project / "kill.py").write_text(KILLED)
    done = run(sys.executable, "kill.py", "datamodule=streamed", *short, cwd=project, **packages)
    assert done.stdout.splitlines() == [f"workers {n} differ: []" for n in (0, 1, 3)], done.stdout + done.stderr
