"""With default settings, each starter beats the baselines that benchmarks/starters.py shows beside it."""

import sys
from pathlib import Path

import pytest
from conftest import CHOICES, ROOT, run


@pytest.mark.long
@pytest.mark.parametrize("starter", CHOICES["starter"])
def test_it_beats_its_baselines(starter: str, tmp_path: Path) -> None:
    words = (starter, "--seeds", "0", "--output", tmp_path / "table.md", "--plots", tmp_path / "plots")
    done = run(sys.executable, "benchmarks/starters.py", *words, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| {starter} |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "plots" / f"{starter}.png").stat().st_size > 2000
