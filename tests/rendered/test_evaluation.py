"""Output files of evaluate.py and predict.py, the data they measure on, and folds that repeat one training."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from omegaconf import OmegaConf
from starter import OWN_DATAMODULE
from test_resume import QUICK

from my_project.engine.errors import RefusedError
from my_project.engine.logs import log
from my_project.engine.runs.folder import RunFolder
from my_project.engine.runs.metrics import headline
from my_project.engine.runs.outputs import check_output
from my_project.engine.runs.seen import read_seen, write_seen
from my_project.engine.training import folds as cross_validation
from my_project.engine.training import train as training
from my_project.engine.training.inference import _evaluation_name, _free_path


@pytest.fixture(scope="module")
def run(command: Command, own_data: Path) -> Path:
    """A run on the user's own files: `own`, with a copy `moved`."""
    for name in ("own", "moved"):
        copy = command.folder / f"{name}{own_data.suffix}"
        (shutil.copytree if own_data.is_dir() else shutil.copy)(own_data, copy)
    words = (f"datamodule={OWN_DATAMODULE}", f"datamodule.root=own{own_data.suffix}", "callbacks=[default]")
    quick = [word for word in QUICK if "limit_test_batches" not in word]
    status, output = command("train.py", "name=own", *words, *quick, "trainer.max_epochs=1")
    assert status == 0, output
    return command.folder / "runs" / "own"


def evaluated(run: Path, stem: str) -> dict[str, Any]:
    return json.loads((run / f"{stem}.json").read_text(encoding="utf-8"))


def test_moved_data_is_own_data_and_no_evaluation_replaces_another(run: Path, command: Command, own_data: Path) -> None:
    moved = f"datamodule.root=moved{own_data.suffix}"
    (command.folder / "e").mkdir()
    shutil.copy(run / "checkpoints" / "best.ckpt", command.folder / "e")
    part = "trainer.limit_test_batches=1 datamodule.batch_size=2"
    for words in ("", moved, "checkpoint=last", part, "", "checkpoint=e/best.ckpt"):
        status, output = command("evaluate.py", "run=runs/own", *words.split())
        assert status == 0, output
    assert "e/best.ckpt lies in no run folder" in output
    names = {path.stem for path in run.glob("evaluation_*.json")}
    assert names == {f"evaluation_{name}" for name in ("best", "best_2", "best_3", "last", "e_best")}
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    own, elsewhere, some = (evaluated(run, f"evaluation_{name}") for name in ("best", "best_2", "best_3"))
    assert elsewhere["overrides"] == [moved]
    assert own["left_out"] == elsewhere["left_out"] == 0
    assert own["samples"] == elsewhere["samples"] == some["of"] > some["samples"] > 0
    assert own["test"] == elsewhere["test"] == evaluated(run, "evaluation_e_best")["test"]
    assert some["overrides"] == part.split()
    assert (metrics["samples"]["test"], metrics["test"]) == (own["samples"], own["test"])


def test_a_run_without_seen_npy_warns(run: Path, command: Command, own_data: Path) -> None:
    """A run from before seen.npy was written. Data named on the command line is used whole, else its test split."""
    older = shutil.copytree(run, run.with_name("older"), ignore=shutil.ignore_patterns("evaluation_*"))
    (older / "seen.npy").unlink()
    provenance = older / "provenance.json"
    provenance.write_text(provenance.read_text(encoding="utf-8").replace('"data_sha256": "', '"data_sha256": "0'))
    status, output = command("evaluate.py", "run=runs/older")
    assert status == 0, output
    assert "The data is not what the run was trained on: it is split again" in output
    test = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["samples"]["test"]
    assert evaluated(older, "evaluation_best")["samples"] == test
    status, output = command("evaluate.py", "run=runs/older", f"datamodule.root=own{own_data.suffix}")
    assert status == 0, output
    assert "Whether the model was trained on some of this data is not known: runs/older (it has no seen.npy)" in output
    content = evaluated(older, "evaluation_best_on_own")
    assert content["left_out"] is None
    assert content["samples"] > test


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0000"), (0.5, "0.5000"), (12345.678, "12345.6780"), (-2e-7, "-2e-07")]
)
def test_a_metric_is_shown_with_significant_digits(value: float, text: str) -> None:
    assert headline({"loss": value, "loss/cat": 1.0}, "test", (0, 0), None) == f"test/loss {text}"


def test_names_of_evaluations(tmp_path: Path) -> None:
    saved = OmegaConf.create({"datamodule": {"_target_": "my_project.datamodules.digits.Digits", "root": "a b/c.csv"}})
    names = [_evaluation_name(word, saved, True) for word in ("best", "runs/other/checkpoints/best.ckpt")]
    assert names == ["evaluation_best_on_c", "evaluation_other_best_on_c"]
    del saved.datamodule["root"]
    assert _evaluation_name("last", saved, True) == "evaluation_last_on_digits"
    folder = RunFolder(tmp_path)
    (tmp_path / "evaluation_best.json").write_text("[" * 100_000)  # not an evaluation
    assert _free_path(folder, "evaluation_best", {"left_out": 0}).name == "evaluation_best_2.json"
    (tmp_path / "evaluation_best_2.json").write_text('{"left_out": 0, "test": {}}')
    assert _free_path(folder, "evaluation_best", {"left_out": 0}).name == "evaluation_best_2.json"
    assert _free_path(folder, "evaluation_best", {"left_out": 1}).name == "evaluation_best_3.json"


def test_seen_npy_holds_plain_numbers_and_grows(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert read_seen(run) is None
    write_seen(run, np.array([3, 1, 3], np.uint64))
    write_seen(RunFolder(tmp_path, continued=True), np.array([2], np.uint64))
    keys = read_seen(run)
    assert keys is not None
    assert keys.tolist() == [1, 2, 3]
    for content in (b"no array", np.arange(3.0).tobytes()):
        run.seen.write_bytes(content)
        with pytest.raises(RefusedError, match=r"seen.npy"):
            read_seen(run)
    np.save(run.seen, np.array([{}], object), allow_pickle=True)
    with pytest.raises(RefusedError, match=r"seen.npy"):
        read_seen(run)


def test_the_warning_of_seen_samples_says_how_the_datamodule_recognises_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Data:
        sample_name = "windows"

        def trained_on(self) -> np.ndarray:
            return np.array([7], np.uint64)

        def is_seen(self, keys: np.ndarray) -> np.ndarray:
            return keys == 7

    class Text(Data):
        seen_as = "share 32 consecutive tokens with"

    monkeypatch.setattr(log, "propagate", True)
    for data in (Data(), Text()):
        training.record_seen(OmegaConf.create({"init_from": None}), RunFolder(tmp_path), data)
    assert list(dict.fromkeys(caplog.messages)) == [  # two handlers, if a test before has started the log
        "1 of the test windows are copies of samples to train or validate on",
        "1 of the test windows share 32 consecutive tokens with samples to train or validate on",
    ]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("in/a.png", "lies in "),
        ("x/../in/a.png", "lies in "),
        ("link.png", "lies in "),
        ("hard.png", "lies in "),
        ("data.csv", "which is read"),
        ("hard.csv", "which is read"),
        ("runs/r/metrics.json", "belongs to the run r"),
        ("runs/r/checkpoints/best.ckpt", "belongs to the run r"),
        ("notes.md", "is not a prediction"),
        ("in/new.csv", None),
        ("out.csv", None),
        ("runs/r/predictions/p.csv", None),
    ],
)
def test_a_prediction_replaces_nothing_but_a_prediction(
    output: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "in/a.png", "data.csv", "runs/r/provenance.json", "runs/r/metrics.json", "runs/r/checkpoints/best.ckpt",
        "runs/r/predictions/p.csv", "out.csv", "notes.md",
    ):  # fmt: skip
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("link.png").symlink_to("in/a.png")
    os.link("in/a.png", "hard.png")
    os.link("data.csv", "hard.csv")
    saved = OmegaConf.create({"datamodule": {"_target_": "x", "root": "data.csv"}})
    if said is None:
        check_output(Path(output), "in", saved)
    else:
        with pytest.raises(RefusedError) as refused:
            check_output(Path(output), "in", saved)
        assert str(refused.value).startswith(f"output={output}: ")
        assert said in str(refused.value)
    with pytest.raises(RefusedError, match="which is read"):  # a prediction that is now an input
        check_output(Path("runs/r/predictions/p.csv"), "runs/r/predictions/p.csv", saved)


def test_one_of_many_predictions_is_kept_from_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a.png").write_text("")
    saved = OmegaConf.create({"datamodule": {"_target_": "x"}})
    with pytest.raises(RefusedError, match=r"^output=in/a_x2.png: lies beside the input"):
        check_output(Path("in/a_x2.png"), "in/a.png", saved, one_of_many=True)
    check_output(Path("in/out/a_x2.png"), "in/a.png", saved, one_of_many=True)
    check_output(Path("a_x2.png"), "in", saved, one_of_many=True)
    check_output(Path("in/a_x2.png"), "in/a.png", saved)


def test_folds_that_validate_on_the_same_samples_are_refused_before_any_training(
    own_data: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A datamodule that takes `folds` and `fold` and ignores both."""
    whole = cross_validation.build_datamodule

    def heedless(cfg: Any) -> Any:
        cfg.datamodule.update({"folds": None, "fold": None})
        return whole(cfg)

    status, said = command("train.py", "--check", "folds=2")
    if status == 2 and "takes none" in said:
        pytest.skip(said.strip())
    monkeypatch.setattr(cross_validation, "build_datamodule", heedless)
    words = (f"datamodule={OWN_DATAMODULE}", f"datamodule.root={own_data}")
    status, output = command("train.py", "name=equal", "folds=3", *words)
    assert (status, len(output.strip().splitlines())) == (2, 1), output
    assert output.startswith("folds=3: folds 1 and 2 validate on the same samples; ")
    assert not (command.folder / "runs" / "equal").exists()


def test_a_metric_that_was_not_logged_is_not_called_best(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder(tmp_path)
    folder.provenance.write_text("{}")
    folder.metrics_csv.write_text("epoch,step,test/loss\n0,4,0.5\n")
    log.propagate = True
    with caplog.at_level("INFO"):
        training.finish(folder, "val/loss", object(), {"test": (2, 2)})
        folder.metrics_csv.write_text("epoch,step,val/loss\n0,4,0.00001234\n")  # trainer.limit_test_batches=0
        training.finish(folder, "val/loss", object(), {"test": (0, 2)})
    log.propagate = False
    assert "Last val/loss 1.234e-05; nothing was tested\n" in caplog.text
    assert "No value of val/loss was logged; test/loss 0.5000 of 2 samples" in caplog.text
    assert "nan" not in caplog.text
    assert "input=<your files>" in caplog.text
