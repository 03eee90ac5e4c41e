"""Cross-validation: a set of runs that resumes fold by fold, one table, and the set used as an ensemble."""

import csv
import json
import signal
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, fitting
from killed import STEP, At, differences, final_state, train
from PIL import Image
from starter import SMALL, outputs, write_inputs
from test_resume import QUICK as STEPS

from my_project import load_run
from my_project.engine.training import folds as cross_validation

QUICK = (*STEPS, *fitting(SMALL))
FOLDS = ("folds=2", *QUICK, "trainer.max_epochs=1")


@pytest.fixture(scope="module", autouse=True)
def folder(command: Command) -> Path:
    """The folder in which runs/cv was killed in its second fold."""
    status, said = command("train.py", "--check", "folds=2")
    if status == 2 and "takes none" in said:
        pytest.skip(said.strip())
    assert train(command.folder, "name=cv", *FOLDS, at=At(STEP, 9))[0] == -signal.SIGKILL
    runs = command.folder / "runs"
    assert (runs / "cv" / "fold_1" / "metrics.json").is_file()
    assert not (runs / "cv" / "fold_2" / "metrics.json").exists()
    assert not (runs / "cv" / "folds.json").exists()
    return command.folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    """The set, finished by the same command."""
    status, said = Command(folder)("evaluate.py", "run=runs/cv")
    assert (status, "runs/cv: has not finished" in said) == (2, True), said
    before = {path: path.read_bytes() for path in (folder / "runs" / "cv" / "fold_1").rglob("*.*")}
    status, said = train(folder, "name=cv", *FOLDS)
    assert status == 0, said
    assert "runs/cv/fold_1 has finished" in said
    assert "Resuming runs/cv/fold_2" in said
    assert {path: path.read_bytes() for path in (folder / "runs" / "cv" / "fold_1").rglob("*.*")} == before
    return folder / "runs" / "cv"


def test_a_killed_set_resumes_and_each_fold_ends_bit_identical(finished: Path, folder: Path) -> None:
    status, said = train(folder, "name=undisturbed", *FOLDS)
    assert status == 0, said
    for fold in ("fold_1", "fold_2"):
        states = [final_state(folder / "runs" / name / fold) for name in ("undisturbed", "cv")]
        assert differences(*states) == []
    one, other = (json.loads((folder / "runs" / name / "folds.json").read_text()) for name in ("undisturbed", "cv"))
    assert one == other
    assert final_state(finished / "fold_1")["metrics.csv"] != final_state(finished / "fold_2")["metrics.csv"]


def test_the_table_holds_the_metrics_of_the_runs(finished: Path) -> None:
    table = json.loads((finished / "folds.json").read_text())
    assert table["folds"] == 2
    runs = [json.loads((finished / f"fold_{number}" / "metrics.json").read_text()) for number in (1, 2)]
    rows = {row[""]: row for row in csv.DictReader((finished / "folds.csv").open())}
    assert [*rows] == ["fold_1", "fold_2", "mean", "std"]
    assert {"val/loss", "test/loss"} <= {*table["metrics"]}
    for key, values in table["metrics"].items():
        split, name = key.split("/")
        each = [run[split][name] for run in runs]
        assert [values["fold_1"], values["fold_2"]] == each
        assert values["mean"] == pytest.approx(statistics.mean(each))
        assert values["std"] == pytest.approx(statistics.stdev(each))
        assert {row: float(cells[key]) for row, cells in rows.items()} == pytest.approx(values)
    with Image.open(finished / "plots" / "folds.png") as image:
        assert np.asarray(image.convert("L")).std() > 5


def test_the_set_is_used_as_an_ensemble(finished: Path, folder: Path) -> None:
    command = Command(folder)
    status, said = command("evaluate.py", "run=runs/cv")
    assert status == 0, said
    together = json.loads((finished / "evaluation_best.json").read_text())["test"]
    alone = [json.loads((finished / f"fold_{number}" / "metrics.json").read_text())["test"] for number in (1, 2)]
    assert together.keys() == alone[0].keys()
    assert together["loss"] not in [each["loss"] for each in alone]
    status, said = command("predict.py", "run=runs/cv", f"input={write_inputs(folder)}")
    assert status == 0, said
    assert any((finished / "predictions").iterdir())


def test_an_ensemble_gives_the_mean_of_its_members(finished: Path, folder: Path) -> None:
    (ensemble, data), (first, _), (second, _) = (load_run(finished / part) for part in (".", "fold_1", "fold_2"))
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    batch = next(iter(data.train_dataloader()))
    members = [outputs(model, batch) for model in (first, second)]
    assert torch.allclose(outputs(ensemble, batch), torch.stack(members).mean(0), atol=1e-5)
    assert not torch.allclose(members[0], members[1], atol=1e-5)


def test_init_from_may_have_seen_validation_samples_which_is_a_warning(
    finished: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation, "train", lambda fold: None)  # the warning comes earlier
    monkeypatch.setattr(cross_validation, "summarise", lambda *table: None)
    status, said = Command(folder)("train.py", "name=tuned", "folds=2", "init_from=runs/cv/fold_1", *QUICK)
    assert status == 0, said
    assert said.count("init_from=runs/cv/fold_1 may be trained on what a fold validates on") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("name=cv", "folds=2"), "name=cv: runs/cv is a finished run and is kept"),
        (("name=new", "folds=1"), "folds=1: expected a value greater than or equal to 2"),
        (("name=new", "folds=2", "datamodule.fold=1"), "datamodule.fold=1: is given by folds="),
        (("rerun=runs/cv/fold_1", "name=new", "folds=2"), "a rerun trains the same again"),
        (("rerun=runs/cv", "name=new"), "rerun=runs/cv: is a set of folds; expected one of them: rerun=runs/cv/fold_1"),
        (("name=new/fold_0",), "a run name is a folder name"),
        (("name=begun",), "name=begun: runs/begun is a set of folds: folds=1 resumes it"),
        (("name=begun", "folds=2"), "it can't resume exactly"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    words: tuple[str, ...], said: str, finished: Path, folder: Path
) -> None:
    begun = folder / "runs" / "begun" / "fold_1"
    if not begun.exists():
        begun.mkdir(parents=True)
        config = (finished / "fold_1" / "config.yaml").read_text()
        (begun / "config.yaml").write_text(config.replace("seed: 0", "seed: 7"))
    status, output = Command(folder)("train.py", *words, *(() if words[0].startswith("rerun") else QUICK))
    assert (status, said in output) == (2, True), output
    assert len(output.strip().splitlines()) == 1
    assert not (folder / "runs" / "new").exists()
