"""The report page: all of the runs is in it, nothing of a run folder acts, and it is written whole or not at all."""

import base64
import hashlib
import io
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Command
from PIL import Image
from run_folders import change_json, write_json, write_run

from my_project.engine.compare import page

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>&\u2028\u202e\"'`$(ls)"


@pytest.fixture
def report(tmp_path: Path) -> Command:
    """The command line in a folder with the run runs/good."""
    write_run(tmp_path / "runs" / "good")
    return Command(tmp_path, ROOT)


def content(command: Command) -> dict[str, Any]:
    """Write the page, and return the data in it, with the runs by their names."""
    status, said = command("runs.py", "report")
    assert status == 0, said
    text = (command.folder / "report.html").read_text(encoding="utf-8")
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert len(found) == 1
    data = json.loads(found[0])
    return data | {"runs": {run["name"]: run for run in data["runs"]}}


def test_the_page_holds_what_the_run_folders_hold(report: Command) -> None:
    for seed in (1, 2):
        write_run(report.folder / "runs" / f"seed_{seed}", seed=seed)
    data = content(report)
    assert [*data["runs"]] == ["seed_2", "seed_1", "good"]
    assert [group["runs"] for group in data["groups"]] == [[2, 1, 0]]
    run = data["runs"]["seed_1"]
    assert run["curves"] == [{"val/loss": [[9, 19, 29], [0, 1, 2], [2.51, 1.51, 0.51]],
                              "train/loss": [[9, 19, 29], [0, 1, 2], [3, 2, 1]]}]  # fmt: skip
    assert (run["test"], run["best"], run["best_epoch"]) == ({"loss": 0.51, "accuracy": 0.91}, 0.51, 2)
    assert (run["config"]["model.optimizer.lr"], run["origin"]["packages torch"]) == ("0.01", "2.13.0")
    assert run["commands"][1] == "python train.py rerun=runs/seed_1"
    image = base64.b64decode(run["plots"]["matrix.png"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(image)).size == (300, 200)
    assert run["notes"] == []


def test_the_page_asks_for_nothing_and_names_the_hashes_of_its_scripts(report: Command) -> None:
    content(report)
    text = (report.folder / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r'\s(?:src|href)="([^"#][^"]*)"', text)) == {"data:,"}
    assert not re.search(r"@import|url\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[0]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == digests
    assert "Copyright (c) 2022 Leon Sorokin" in scripts[0]


def test_hostile_text_stays_text(report: Command) -> None:
    folder = report.folder / "runs" / HOSTILE.replace("/", "∕")
    path = write_run(folder, model=HOSTILE, overrides=[HOSTILE, "; rm -rf ~"])
    change_json(path / "status.json", monitor=f"val/{HOSTILE}", error=HOSTILE)
    write_json(path / "metrics.json", {"test": {"constructor": 1.0, "__proto__": 2.0, HOSTILE.replace("/", ""): 3.0}})
    (path / "metrics.csv").write_text('epoch,step,"val/<script>",val/__proto__\n0,1,nan,inf\n', encoding="utf-8")
    (path / "plots" / "matrix.png").rename(path / "plots" / "<img src=x onerror=alert(1)>.png")
    data = content(report)
    text = (report.folder / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 3
    assert "alert(1)>" not in text
    assert "<!--" not in text
    assert "\u2028" not in text
    run = data["runs"][path.name]
    assert run["config"]["model.kind"] == HOSTILE
    assert run["curves"] == [{"val/<script>": [[1], [0], [None]], "val/__proto__": [[1], [0], [None]]}]
    assert shlex.split(run["commands"][0]) == ["python", "train.py", HOSTILE, "; rm -rf ~"]
    assert shlex.split(run["commands"][1])[2] == f"rerun=runs/{path.name}"
    assert [*run["plots"]] == ["<img src=x onerror=alert(1)>.png"]


def deep(path: Path) -> None:
    path.write_text("[" * 900 + "]" * 900)


DAMAGE = {
    "status.json is cut off": lambda path: (path / "status.json").write_text('{"state": "fini'),
    "metrics.json is a list": lambda path: (path / "metrics.json").write_text("[1, 2]"),
    "metrics.csv holds words": lambda path: (path / "metrics.csv").write_text("epoch,step,val/loss\n0,1,low\n"),
    "config.yaml calls Python": lambda path: (path / "config.yaml").write_text("!!python/object/apply:os.getcwd []"),
    "config.yaml has an interpolation": lambda path: (path / "config.yaml").write_text("name: ${oc.env:HOME}"),
    "provenance.json is deep": lambda path: deep(path / "provenance.json"),
    "a deep list of packages": lambda path: (path / "provenance.json").write_text(
        '{"overrides": [], "packages": ' + "[" * 900 + "]" * 900 + "}"
    ),
    "overrides are numbers": lambda path: change_json(path / "provenance.json", overrides=[1, None, {"a": 2}]),
    "a number of many digits": lambda path: (path / "metrics.json").write_text('{"test": {"loss": 1e999}}'),
    "all is empty": lambda path: [file.write_text("") for file in path.iterdir() if file.is_file()],
    "a plot is HTML": lambda path: (path / "plots" / "matrix.png").write_text("<script>alert(1)</script>"),
    "a plot is a JPEG": lambda path: Image.new("RGB", (9, 9)).save(path / "plots" / "matrix.png", "JPEG"),
    "a plot is cut off": lambda path: (path / "plots" / "matrix.png").write_bytes(
        (path / "plots" / "matrix.png").read_bytes()[:80]
    ),
    "a plot is a bomb": lambda path: Image.new("1", (30_000, 30_000)).save(path / "plots" / "matrix.png"),
    "a plot is a folder": lambda path: (path / "plots" / "x.png").mkdir(),
}
UNSEEN = ("overrides are numbers", "a number of many digits", "metrics.json is a list", "a deep list of packages")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_in_the_page_and_hides_no_other(damage: str, report: Command) -> None:
    DAMAGE[damage](write_run(report.folder / "runs" / "bad", seed=1))
    runs = content(report)["runs"]
    assert runs.keys() == {"good", "bad"}
    assert len(runs["good"]["plots"]) == 1
    assert "plot" not in damage or (len(runs["bad"]["plots"]) == (damage == "a plot is a folder"))
    if damage not in UNSEEN:
        assert runs["bad"]["notes"] or runs["bad"]["error"]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_leads_out_of_a_run_folder_is_not_read(kind: str, report: Command) -> None:
    path = write_run(report.folder / "runs" / "bad", seed=1)
    (path / "plots" / "matrix.png").unlink()
    if kind == "link":
        Image.new("RGB", (123, 45)).save(report.folder / "private.png")
        (path / "plots" / "matrix.png").symlink_to(report.folder / "private.png")
    else:
        os.mkfifo(path / "plots" / "matrix.png")
    run = content(report)["runs"]["bad"]
    assert (run["state"], run["plots"], run["test"]) == ("damaged", {}, {})
    assert "curves" not in run
    assert "matrix.png is a " in run["error"]


def test_twenty_large_runs_make_a_page_of_at_most_6_MB(report: Command) -> None:
    noise = Image.frombytes("RGB", (900, 900), os.urandom(3 * 900 * 900))
    rows = [f"{step // 10},{step},{step / 7},{step / 9}" for step in range(5000)]
    for number in range(19):
        path = write_run(report.folder / "runs" / f"run_{number}", seed=number)
        (path / "metrics.csv").write_text("\n".join(["epoch,step,val/loss,train/loss", *rows, ""]))
        for name in ("a.png", "b.png"):
            noise.save(path / "plots" / name)
    data = content(report)
    assert 4e6 < (report.folder / "report.html").stat().st_size <= 6e6
    steps, _, values = data["runs"]["run_0"]["curves"][0]["val/loss"]
    assert 1000 < len(steps) <= 1501
    assert (steps[-1], values[-1]) == (4999, 714.143)
    shown = [len(run["plots"]) for run in data["runs"].values()]
    assert min(shown) >= 1
    for run in data["runs"].values():
        assert (len(run["plots"]) < 3) == bool(run["notes"]) or run["name"] == "good"


def test_a_run_that_is_too_large_is_shown_by_its_summary(report: Command) -> None:
    path = write_run(report.folder / "runs" / "large", seed=1)
    change_json(path / "provenance.json", os="<" * 10**6)
    run = content(report)["runs"]["large"]
    assert (run["state"], run["best"]) == ("finished", 0.51)
    assert run["notes"] == ["too large for this page: only its summary is shown"]
    assert len(run["plots"]) == 1


def test_the_newest_runs_are_shown_where_there_are_too_many(report: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        write_run(report.folder / "runs" / f"seed_{seed}", seed=seed)
    monkeypatch.setattr(page, "MAX_RUNS", 2)
    status, said = report("runs.py", "report")
    assert (status, said.startswith("2 runs in report.html"), "without 1 older" in said) == (0, True, True), said
    assert [*content(report)["runs"]] == ["seed_2", "seed_1"]


def test_a_set_of_folds_is_one_run_with_a_curve_for_each(report: Command) -> None:
    for number in (1, 2):
        write_run(report.folder / "runs" / "cv" / f"fold_{number}", seed=number, overrides=["folds=2", "name=cv"])
    values = {"fold_1": 0.5, "fold_2": 0.7, "mean": 0.6, "std": 0.1}
    write_json(report.folder / "runs" / "cv" / "folds.json", {"folds": 2, "metrics": {"test/loss": values}})
    run = content(report)["runs"]["cv"]
    assert (len(run["curves"]), run["folds_table"]) == (2, {"test/loss": values})
    assert run["commands"] == ["python train.py folds=2 name=cv", "python train.py folds=2"]


@pytest.mark.parametrize("output", ["/proc/report.html", "runs", "runs/good/config.yaml/report.html", "a" * 300])
def test_a_page_that_can_not_be_written_is_refused_in_one_line(output: str, report: Command) -> None:
    before = {path: path.read_bytes() for path in report.folder.rglob("*") if path.is_file()}
    status, said = report("runs.py", "report", "--output", output)
    assert (status, len(said.strip().splitlines()), "--output" in said) == (2, 1, True), said
    assert {path: path.read_bytes() for path in report.folder.rglob("*") if path.is_file()} == before


def test_a_page_is_replaced_whole_or_not_at_all(report: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (report.folder / "report.html").write_text("before")

    def full(*paths: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    status, said = report("runs.py", "report")
    assert (status, "No space left on device" in said) == (2, True), said
    assert (report.folder / "report.html").read_text() == "before"
    assert sorted(path.name for path in report.folder.iterdir()) == ["report.html", "runs"]


def test_the_page_finds_the_verdicts_of_a_metric(report: Command) -> None:
    for seed in range(2):
        for lr in (0.1, 0.2):
            write_run(report.folder / "runs" / f"{lr}_{seed}", seed=seed, lr=lr)
    verdicts = content(report)["verdicts"]
    text = (report.folder / "report.html").read_text(encoding="utf-8")
    (begin,) = re.findall(r"data\.verdicts\.filter\(\(line\) => line\.startsWith\(`(.*?)`\)", text)
    for name in ("loss", "accuracy"):
        found = [line for line in verdicts if line.startswith(begin.replace("${name}", name))]
        assert [line.partition(":")[0] for line in found] == [f"test/{name} B − A"]
