"""runs.py lists, shows and compares run folders, whatever they hold, and changes nothing in them."""

import hashlib
import json
import os
import shlex
import statistics
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from scipy import stats

HOSTILE = "[red]x[/red]\x1b[31m\n<script>alert(1)</script>${oc.env:HOME}"
TYPES = {"state": "finished", "seed": [], "best": 3, "started": "yesterday", "epoch": "x", "seconds": {}, "model": {}}
SEEDS = {"a": {0: 0.9, 1: 0.92, 2: 0.88}, "b": {0: 0.5, 1: 0.53, 2: 0.49}}  # accuracy of two groups


def write_run(folder: Path, name: str, seed: int = 0, accuracy: float | None = 0.5, **changes: Any) -> Path:
    """Write a run folder as a training would; `changes` of its status, its config (a dict) or its origin (a dict)."""
    run = folder / "runs" / name
    (run / "checkpoints").mkdir(parents=True)
    config = {
        "name": name,
        "seed": seed,
        "model": {"width": 8},
        "trainer": {"max_epochs": 4},
        "callbacks": {"checkpoint": {"dirpath": f"runs/{name}/checkpoints"}},
        **changes.pop("config", {}),
    }
    origin = {
        "command": f"python train.py name={name}",
        "overrides": [f"name={name}"],
        "seed": seed,
        "seedless_sha256": "s",
        "data_sha256": "d",
        "code_sha256": "c",
        "packages": {"torch": "2.13.0"},
        **changes.pop("origin", {}),
    }
    started = f"2026-11-{len([*run.parent.iterdir()]):02}T10:00:00+00:00"
    status = {
        **{"state": "finished", "model": "cnn", "datamodule": "digits", "seed": seed, "monitor": "val/loss"},
        **{"mode": "min", "started": started, "alive": "2026-11-29T10:00:00+00:00", "host": "elsewhere", "pid": 1},
        **{"epoch": 4, "epochs": 4, "step": 40, "steps": 40, "seconds": 61.5},
        "best": {"value": 0.25, "epoch": 2, "step": 29},
        **changes,
    }
    for file, content in (("config.yaml", config), ("provenance.json", origin), ("status.json", status)):
        (run / file).write_text(json.dumps(content))
    if accuracy is not None:
        test = {"loss": 1 - accuracy, "accuracy": accuracy, "f1/cat": 0.1}
        (run / "metrics.json").write_text(json.dumps({"train": {}, "val": {"loss": 0.25}, "test": test}))
    return run


def run_py(folder: Path, *words: str) -> str:
    status, said = Command(folder)("runs.py", *words)
    assert status == 0, said
    return said


def refused(folder: Path, *words: str) -> str:
    status, said = Command(folder)("runs.py", *words)
    assert (status, len(said.splitlines())) == (2, 1), said
    return said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, values in SEEDS.items():
        for seed, accuracy in values.items():
            origin = {"overrides": [f"name={name}{seed}", f"model={name}"], "seedless_sha256": name}
            write_run(
                tmp_path,
                f"{name}{seed}",
                seed,
                accuracy,
                model=name,
                origin=origin,
                config={"model": {"width": ord(name)}},
            )
    return tmp_path


def test_the_table_has_a_line_for_each_run_the_newest_first(folder: Path) -> None:
    titles, *lines = run_py(folder).splitlines()
    assert titles.split() == ["run", "state", "model", "datamodule", "seed", "epochs", "val/loss", "test/loss",
                              "test/accuracy", "time", "started"]  # fmt: skip
    assert [line.split()[0] for line in lines] == ["b2", "b1", "b0", "a2", "a1", "a0"]
    assert " ".join(lines[-1].split()).startswith("a0 finished a digits 0 4/4 0.2500 0.1000 0.9000 1 min")


def test_it_is_sorted_and_filtered_by_any_value(folder: Path) -> None:
    def names(*words: str) -> list[str]:
        return [run["name"] for run in json.loads(run_py(folder, "--json", *words))]

    assert names("--sort", "test/accuracy", "--reverse") == ["a1", "a0", "a2", "b1", "b0", "b2"]
    assert names("--where", "model=b", "--where", "seed=1") == ["b1"]
    assert names("--where", "model.width=97", "--sort", "name") == ["a0", "a1", "a2"]
    assert len(names("--where", "best=2.5e-1")) == 6
    write_run(folder, "worse", best={"value": 0.5, "epoch": 0, "step": 1})
    assert names("--sort", "best")[-1] == "worse"
    assert names("list", "--sort", "best", "--reverse")[0] == "worse"
    assert "did you mean model.width" in refused(folder, "--where", "model.widht=97")
    assert "did you mean seconds" in refused(folder, "--sort", "secods")
    assert "expected key=value" in refused(folder, "--where", "model")
    assert "invalid choice: 'nope'" in refused(folder, "nope")


def test_what_is_damaged_is_listed_as_such(folder: Path) -> None:
    damage = {
        "cut": lambda run: (run / "status.json").write_text('{"state": "fin'),
        "empty": lambda run: (run / "status.json").write_text(""),
        "list": lambda run: (run / "status.json").write_text("[]"),
        "state": lambda run: (run / "status.json").write_text('{"state": "sold"}'),
        "metrics": lambda run: (run / "metrics.json").write_text('{"test": {"accuracy": "high"}}'),
        "types": lambda run: (run / "status.json").write_text(json.dumps(TYPES)),
        "folder": lambda run: [(run / "status.json").unlink(), (run / "status.json").mkdir()],
    }  # fmt: skip
    for name, spoil in damage.items():
        spoil(write_run(folder, name))
    runs = {run["name"]: run for run in json.loads(run_py(folder, "--json"))}
    assert len(runs) == 6 + len(damage)
    assert {name for name, run in runs.items() if run["state"] == "damaged"} == {
        "cut",
        "empty",
        "list",
        "state",
        "folder",
    }
    assert runs["types"]["best"] is None
    assert runs["metrics"]["test"] == {}
    assert "cut is damaged: runs/cut/status.json: can't be read" in run_py(folder)
    for words in (("show", "cut"), ("show", "types"), ("seeds",), ("--sort", "best"), ("--where", "model=a")):
        run_py(folder, *words)


def test_a_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    run = write_run(folder, "linked", accuracy=None)
    (folder / "outside.json").write_text(json.dumps({"test": {"secret": 42}, "val": {}}))
    (run / "metrics.json").symlink_to(folder / "outside.json")
    for words in (("show", "linked"), ("diff", "linked", "a0")):
        assert "is a link that leads out of the run folder" in refused(folder, *words)


def test_names_and_values_of_a_stranger_are_shown_as_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = dict.fromkeys(("model", "datamodule", "error", "monitor"), HOSTILE)
    write_run(
        folder, "theirs", **changes, state="failed", accuracy=None, origin={"command": HOSTILE, "overrides": [HOSTILE]}
    )
    for words in ((), ("show", "theirs"), ("diff", "theirs", "a0"), ("seeds",)):
        said = run_py(folder, *words)
        assert "\x1b" not in said
        assert "\n<script>" not in said
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert json.loads(run_py(folder, "--json"))[0]["model"].startswith("[red]x[/red]")


def test_diff_shows_what_differs_and_nothing_that_is_equal(folder: Path) -> None:
    write_run(
        folder,
        "other",
        1,
        0.5,
        config={"model": {"width": 9}},
        origin={"packages": {"torch": "2.12.0"}, "cpu": {"name": "x"}},
    )
    write_run(folder, "one", 0, 0.5)
    found = json.loads(run_py(folder, "diff", "runs/one", "runs/other", "--json"))
    assert found == {
        "config": [["seed", "0", "1"], ["model.width", "8", "9"]],
        "versions": [["torch", "2.13.0", "2.12.0"]],
        "machine": [["CPU", "–", "{'name': 'x'}"]],
    }
    assert run_py(folder, "diff", "one", "one") == "Nothing differs\n"
    (folder / "runs" / "one" / "changes.patch").write_text("+x\n+y\n")
    assert "2 lines" in run_py(folder, "diff", "one", "other")
    write_run(folder, "killed", accuracy=None, state="training", best={"value": 1.5, "epoch": 0, "step": 9})
    metrics = json.loads(run_py(folder, "diff", "one", "killed", "--json"))["metrics"]
    assert metrics[0] == ["val/loss", "0.2500", "1.5000"]
    hashes = [{"data_sha256": letter * 64} for letter in "ab"]
    for name, origin in zip(("hash_a", "hash_b"), hashes, strict=True):
        write_run(folder, name, origin=origin)
    assert f"{'a' * 12}…  {'b' * 12}…" in run_py(folder, "diff", "hash_a", "hash_b")
    assert "did you mean one or other?" in refused(folder, "diff", "ohne", "other")


def test_seeds_give_mean_spread_and_a_test_of_scipy(folder: Path) -> None:
    write_run(folder, "alone", origin={"seedless_sha256": "z"})
    found = json.loads(run_py(folder, "seeds", "--json"))
    groups = found["groups"]
    assert [group["overrides"] for group in groups] == ["model=a", "model=b"]
    for group, values in zip(groups, SEEDS.values(), strict=True):
        accuracy = group["metrics"]["test/accuracy"]
        assert accuracy["mean"] == pytest.approx(statistics.mean(values.values()))
        assert accuracy["std"] == pytest.approx(statistics.stdev(values.values()))
        assert accuracy["seeds"] == {str(seed): value for seed, value in values.items()}
    said = run_py(folder, "seeds")
    low, high = stats.ttest_rel([*SEEDS["b"].values()], [*SEEDS["a"].values()]).confidence_interval(0.95)
    line = next(line for line in said.splitlines() if line.startswith("test/accuracy B − A: "))
    assert f"-0.3933, 95 % interval {low:+.4g} to {high:+.4g} (paired t-test over 3 seeds, scipy)" in line
    assert line.endswith("a clear difference")
    compared = next(each for each in found["comparisons"] if each["metric"] == "test/accuracy")
    assert (compared["one"], compared["other"], compared["interval"]) == ("B", "A", [low, high])
    assert "B: " not in run_py(folder, "seeds", "--where", "model=a")


def test_a_group_is_compared_with_the_best_one_on_the_same_data(tmp_path: Path) -> None:
    """And named by the overrides of its own runs, not by that of a rerun."""
    common = ["datamodule=mine", "trainer.max_epochs=6"]
    settings = {"weak": ("d", 0.7), "good": ("d", 0.2), "middle": ("d", 0.5), "other": ("e", 0.1)}
    for name, (data, best) in settings.items():
        for seed in (0, 1):
            words = ["rerun=runs/x"] if (name, seed) == ("good", 0) else [f"name={name}", *common, f"model={name}"]
            origin = {"seedless_sha256": name, "data_sha256": data, "overrides": words}
            value = {"value": best + seed / 100, "epoch": 2, "step": 29}
            write_run(tmp_path, f"{name}{seed}", seed, 0.9 - best - seed / 1000, origin=origin, best=value)
    found = json.loads(run_py(tmp_path, "seeds", "--json"))
    assert [group["overrides"] for group in found["groups"]] == [f"model={name}" for name in settings]
    pairs = {(each["one"], each["other"]) for each in found["comparisons"]}
    assert pairs == {("A", "B"), ("C", "B")}


def test_runs_with_different_monitors_have_no_best(folder: Path) -> None:
    write_run(folder, "c0", monitor="val/accuracy", mode="max", best={"value": 0.9, "epoch": 2, "step": 29})
    write_run(folder, "c1", monitor="val/accuracy", mode="max", best={"value": 0.8, "epoch": 2, "step": 29})
    assert "--where monitor=val/accuracy" in refused(folder, "--sort", "best")
    said = run_py(folder, "--sort", "best", "--where", "monitor=val/accuracy", "--json")
    assert [run["name"] for run in json.loads(said)] == ["c0", "c1"]
    said = run_py(folder, "--json", "--sort", "val/loss")
    assert [run["val/loss"] for run in json.loads(said)] == [0.25] * 8


def test_few_seeds_that_overlap_are_not_told_apart(tmp_path: Path) -> None:
    for name, values in {"a": (0.9, 0.8), "b": (0.85, 0.83, 0.9)}.items():
        for seed, accuracy in enumerate(values):
            write_run(
                tmp_path,
                f"{name}{seed}",
                seed,
                accuracy,
                origin={"seedless_sha256": name, "overrides": [f"model={name}"]},
            )
    said = run_py(tmp_path, "seeds")
    result = stats.ttest_ind([0.85, 0.83, 0.9], [0.9, 0.8], equal_var=False).confidence_interval(0.95)
    assert f"{result.low:+.4g} to {result.high:+.4g} (Welch's t-test of 3 and 2 seeds, scipy): too few seeds" in said


def test_show_gives_the_commands_that_come_next(folder: Path) -> None:
    assert "next          python predict.py run=runs/a0 input=<your files>" in run_py(folder, "show", "a0").splitlines()
    write_run(folder, "ended", accuracy=None, state="stopped", origin={"overrides": ["model=mlp", "x=; rm -r ~"]})
    assert (
        "next          python train.py name=ended model=mlp 'x=; rm -r ~'"
        in run_py(folder, "show", "runs/ended").splitlines()
    )


def test_nothing_in_a_run_folder_is_changed(folder: Path) -> None:
    def state() -> dict[str, tuple[str, int]]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}

    before = state()
    for words in ((), ("show", "a0"), ("diff", "a0", "b0"), ("seeds",)):
        run_py(folder, *words)
    assert state() == before


def test_without_runs_it_says_how_to_train_one(tmp_path: Path) -> None:
    assert "python train.py name=first trains one" in run_py(tmp_path)
    assert json.loads(run_py(tmp_path, "--json")) == []


def test_names_of_folders_and_files_are_shown_as_text(folder: Path) -> None:
    name = "x\x1b[2J; touch pwned"
    for path in (folder / "runs").glob("b?"):
        path.rename(path.with_name(f"{name}{path.name}"))
    run = write_run(folder, name, state="failed", accuracy=None, error="no")
    (run / "plots").mkdir()
    (run / "plots" / "\x9b2J.png").touch()
    raw = os.fsdecode(b"\xff\x1b")
    write_run(folder, raw)
    for words in ((), ("show", name), ("show", f"{name}b0"), ("diff", name, "a0"), ("seeds",), ("show", raw)):
        said = run_py(folder, *words)
        assert not {"\x1b", "\x9b", "\udcff"}.intersection(said)
    commands = [line[14:] for line in run_py(folder, "show", f"{name}b0").splitlines() if line.startswith("next ")]
    assert len(commands) == 3
    for command in commands:
        assert shlex.split(command)[2].endswith("touch pwnedb0")


def test_times_of_a_stranger_are_times(folder: Path) -> None:
    write_run(folder, "split", started="2026-01-01\x9b01:00:00+02:00", alive="0001-01-01T00:00:00+23:59")
    run = json.loads(run_py(folder, "show", "split", "--json"))
    assert (run["started"], run["alive"]) == ("2025-12-31T23:00:00+00:00", "")


def test_json_has_no_number_that_JSON_lacks(folder: Path) -> None:
    write_run(folder, "infinite", origin={"cpu": {"cores": float("nan"), "threads": float("inf")}})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    run = json.loads(run_py(folder, "show", "infinite", "--json"), parse_constant=refuse)
    assert run["origin"]["cpu"] == {"cores": None, "threads": None}


def test_both_conditions_hold_before_and_after_the_name_of_the_command(folder: Path) -> None:
    found = json.loads(run_py(folder, "--json", "--where", "model=b", "list", "--where", "seed=1"))
    assert [run["name"] for run in found] == ["b1"]
    found = json.loads(run_py(folder, "--where", "model=b", "seeds", "--where", "state=finished", "--json"))
    assert [group["runs"] for group in found["groups"]] == [["runs/b0", "runs/b1", "runs/b2"]]


def test_gaps_that_differ_by_rounding_alone_are_no_spread(tmp_path: Path) -> None:
    for values in ((0.9, 0.8), (0.8999999761581421, 0.800000011920929)):  # float64, float32
        folder = tmp_path / str(values[0])
        for name, accuracy in {"a0": values[0], "a1": values[1], "b0": 0.8, "b1": 0.7}.items():
            write_run(folder, name, int(name[1]), accuracy, origin={"seedless_sha256": name[0]})
        compared = json.loads(run_py(folder, "seeds", "--json"))["comparisons"]
        assert [each["interval"] for each in compared] == [None, None]


def test_a_fold_is_resumed_by_the_command_of_its_set(folder: Path) -> None:
    origin = {"overrides": ["name=cv", "folds=3", "seed=1"]}
    write_run(folder, "cv/fold_1", origin=origin)
    write_run(folder, "cv/fold_2", origin=origin, state="stopped", accuracy=None)
    for name in ("cv", "cv/fold_2"):
        assert "next          python train.py name=cv folds=3 seed=1" in run_py(folder, "show", name).splitlines()
    assert "epochs        1 folds" in run_py(folder, "show", "cv").splitlines()  # of how many is not known
    write_run(folder, "ddp/fold_1", origin={"overrides": ["datamodule.folds=3"]}, state="stopped", accuracy=None)
    assert "python train.py name=ddp/fold_1 datamodule.folds=3" in run_py(folder, "show", "ddp/fold_1")


def test_a_name_that_is_too_long_is_refused(folder: Path) -> None:
    assert "no run folder" in refused(folder, "show", "a" * 300)
