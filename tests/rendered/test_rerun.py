"""Train a finished run again from its folder: differences are logged, and the outcomes compared; provenance."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from killed import STEP, At, differences, final_state, train
from omegaconf import OmegaConf
from starter import SMALL
from test_resume import QUICK as STEPS

from my_project.engine.runs.provenance import describe_origin

QUICK = (*STEPS, *fitting(SMALL))


@pytest.fixture(scope="module")
def folder(command: Command) -> Path:
    """The folder in which runs/ours has been trained, with another learning rate than in the configs."""
    status, said = train(command.folder, "name=ours", *QUICK, "model.optimizer.lr=0.002")
    assert status == 0, said
    return command.folder


def test_a_rerun_is_bit_identical_and_says_so(folder: Path) -> None:
    status, said = train(folder, "rerun=runs/ours", "name=again", *NO_LOGGER)
    assert status == 0, said
    assert "Training runs/ours again; since then nothing changed" in said
    assert "The same bits as runs/ours" in said
    assert json.loads((folder / "runs" / "again" / "rerun.json").read_text())["same_bits"] is True
    known = [json.loads((folder / "runs" / name / "provenance.json").read_text()) for name in ("ours", "again")]
    assert known[0]["config_sha256"] == known[1]["config_sha256"]
    assert differences(*(final_state(folder / "runs" / name) for name in ("ours", "again"))) == []


def test_a_rerun_reports_what_differs_and_by_how_much(folder: Path) -> None:
    theirs = folder / "runs" / "theirs"
    shutil.copytree(folder / "runs" / "ours", theirs)
    last = theirs / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    name = next(iter(content["state_dict"]))
    weight = content["state_dict"][name]
    weight[(0,) * weight.ndim] += 0.25  # in place, for any layout
    torch.save(content, last)
    known = json.loads((theirs / "provenance.json").read_text())
    known["packages"]["torch"] = "2.6.0"
    known["data_sha256"] = "another"
    (theirs / "provenance.json").write_text(json.dumps(known))
    before = {path: path.read_bytes() for path in theirs.rglob("*.*") if path.is_file()}
    status, said = train(folder, "rerun=runs/theirs", "name=differing")
    assert status == 0, said
    assert f"  torch: 2.6.0 then, {version('torch')} now" in said
    assert "  training data: another then" in said
    assert f"Not the bits of runs/theirs: weights differ by up to 0.25 ({name})" in said
    assert json.loads((folder / "runs" / "differing" / "rerun.json").read_text())["same_bits"] is False
    assert {path: path.read_bytes() for path in theirs.rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("rerun=runs/none",), "rerun=runs/none: no run folder"),
        (("rerun=runs/ours", "seed=3"), "seed=3: a rerun trains the same again; beside it only name= can be given"),
        (("rerun=runs/ours", "name=ours"), "runs/ours is a finished run"),
        (("rerun=runs/killed",), "rerun=runs/killed: has not finished; name=killed resumes it"),
    ],
)
def test_a_run_that_can_t_be_trained_again_is_refused(words: tuple[str, ...], part: str, folder: Path) -> None:
    if not (folder / "runs" / "killed").exists():
        assert train(folder, "name=killed", *QUICK, at=At(STEP, 3))[0] == -9
    status, said = train(folder, *words)
    assert status == 2
    assert part in said
    assert len(said.splitlines()) == 1


def test_provenance_holds_the_origin_of_a_run_without_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sesame-in-the-environment")
    words = ["logger.x.api_key=sesame", "logger.y.auth_token=sesame", f"datamodule.root={Path.home()}/images"]
    cfg = OmegaConf.create({"name": "x", "seed": 3})
    text = json.dumps(describe_origin(cfg, words, "digest of the data", processes=2))
    assert "sesame" not in text
    assert str(Path.home()) not in text
    assert "datamodule.root=~/images" in text
    known = json.loads((folder / "runs" / "ours" / "provenance.json").read_text())
    assert {"command", "overrides", "seed", "config_sha256", "data_sha256", "code_sha256", "git"} <= {*known}
    assert {"packages", "python", "os", "cpu", "gpus", "processes", "start", "end", "resumed"} <= {*known}
