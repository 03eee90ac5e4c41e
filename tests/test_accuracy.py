"""The accuracy that the README promises for the default settings, measured as in benchmarks/accuracy.py."""

import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run


@pytest.mark.long
def test_default_settings_reach_0_99_over_ten_seeds(tmp_path: Path) -> None:
    table = tmp_path / "accuracy.md"
    done = run(sys.executable, "benchmarks/accuracy.py", "cnn", "--output", table, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    means = dict(re.findall(r"^\| (.*?) \|.*\*\*([\d.]+)\*\*", table.read_text(), re.MULTILINE))
    assert float(means["`model=cnn`"]) >= 0.99
    assert float(means["`model=cnn`"]) > max(float(mean) for name, mean in means.items() if "neighbour" in name)
