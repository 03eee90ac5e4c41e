"""Texts and their classes: splits, padding, what is learnt from docstrings, fine-tuning, predictions and refusals."""

import csv
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from sklearn.metrics import accuracy_score, roc_auc_score
from starter import SMALL, described_functions, write_rows
from test_resume import check_killed

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.datamodules.labelled_text import LabelledTextDataModule
from {{ cookiecutter.package_name }}.datamodules.tokenizer import Vocabulary
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.models.gpt import GPT
from {{ cookiecutter.package_name }}.models.lstm import LSTM
from {{ cookiecutter.package_name }}.models.text_classifier import TextClassifier

NAMES = ("text", "label")
ROWS = described_functions(40)


def made(root: str | Path, **options: Any) -> LabelledTextDataModule:
    sizes: dict[str, Any] = {"vocab_size": 300, "context": 40, "batch_size": 7}
    data = LabelledTextDataModule(Path(root), **sizes | options)
    data.setup("fit")
    return data


def texts_of(data: LabelledTextDataModule) -> dict[str, list[str]]:
    return {name: [row.texts[0] for row in rows] for name, rows in data.rows.items()}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_classes_are_stratified_and_equal_texts_stay_in_one_split(suffix: str, tmp_path: Path) -> None:
    rows = [*ROWS, *ROWS[::4]]
    data = made(write_rows(tmp_path / f"rows{suffix}", rows, ("body", "kind")), text="body", label="kind")
    assert data.class_names == ["matplotlib", "numpy"]
    texts = texts_of(data)
    assert sum(map(len, texts.values())) == len(rows)
    assert len(set().union(*texts.values())) == sum(len(set(each)) for each in texts.values()) == len(ROWS)
    for name, size in {"train": 28, "val": 4, "test": 8}.items():
        distinct = {row.texts for row in data.rows[name]}
        assert Counter(label for _, label in distinct) == {"matplotlib": size, "numpy": size}


def test_a_column_and_a_file_say_the_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("{{ cookiecutter.package_name }}.engine.logs.log.propagate", True)
    caplog.set_level(logging.INFO)
    words = ("train", "Test", "train", "validation", "training")
    rows = [(*row, words[number % 5]) for number, row in enumerate(ROWS)]
    root = write_rows(tmp_path / "rows.csv", rows, (*NAMES, "split"))
    data = made(root, test_fraction=0.0)
    assert {name: len(part) for name, part in data.rows.items()} == {"train": 48, "val": 16, "test": 16}
    assert texts_of(data)["test"] == [text for text, _, word in rows if word == "Test"]
    assert "Classes of test: matplotlib 8, numpy 8" in caplog.text
    assert "Splits: train 48 (given as train), val 16 (given as val), test 16 (given as test)" in caplog.text
    caplog.clear()
    root, test = (write_rows(tmp_path / f"{k}.csv", part, NAMES) for k, part in enumerate((ROWS[5:], ROWS[:5])))
    data = made(root, test=Path(test), test_fraction=0.0)
    assert texts_of(data)["test"] == [text for text, _ in ROWS[:5]]
    assert f"val 8 (val_fraction=0.1 of datamodule.root={root}), test 5 (datamodule.test={test})" in caplog.text


def test_a_batch_holds_the_start_of_each_text_and_says_where_it_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("{{ cookiecutter.package_name }}.engine.logs.log.propagate", True)
    caplog.set_level(logging.INFO)
    data = made(write_rows(tmp_path / "rows.csv", [*ROWS, ("short", "numpy")], NAMES))
    vocabulary = Vocabulary(**data.statistics)
    for split, rows in data.rows.items():
        whole = [[vocabulary.end, *vocabulary.encode(row.texts[0])] for row in rows]
        for index in torch.arange(len(rows)).split(7):
            tokens, is_text, targets = data.dataset(split)[index]
            for k, number in enumerate(index.tolist()):
                assert tokens[k][is_text[k]].tolist() == whole[number][:40]
                assert data.class_names[int(targets[k])] == rows[number].texts[1]
        longer = [row.line for row, each in zip(rows, whole, strict=True) if len(each) > 40]
        assert f"{len(longer)} of {len(rows)} {split} texts have more tokens (line {longer[0]}" in caplog.text


@pytest.mark.parametrize("network", [GPT, LSTM])
@pytest.mark.parametrize("features", [True, False])
def test_a_text_is_classified_alike_in_every_batch(
    network: type, features: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a network that has no `features`."""
    forward = network.features  # type: ignore[missing-attribute]
    if not features:
        monkeypatch.setattr(network, "forward", forward)
        monkeypatch.delattr(network, "features")
    data = made(write_rows(tmp_path / "rows.csv", [*ROWS, ("short", "numpy")], NAMES), context=200)
    torch.manual_seed(0)
    model = TextClassifier({"_target_": f"{network.__module__}.{network.__name__}"}, {}, **data.facts).eval()
    windows = data.dataset("train")
    order = windows.lengths.argsort()
    tokens, is_text, _ = windows[order]
    alone = torch.cat([model(*windows[each][:2]) for each in order[:, None]])
    assert tokens.shape[1] > windows[order[:1]][0].shape[1]
    assert torch.allclose(model(tokens, is_text), alone, atol=1e-5)
    assert torch.equal(model(tokens.masked_fill(~is_text, 7), is_text), model(tokens, is_text))
    assert alone.std(0).min() > 1e-4


def test_each_class_is_drawn_equally_often_if_asked(tmp_path: Path) -> None:
    root = write_rows(tmp_path / "rows.csv", ROWS[:50], NAMES)
    for balance in (True, False):
        data = made(root, balance=balance)
        drawn = torch.cat([targets for _, _, targets in data.train_dataloader()]).bincount().tolist()
        assert drawn in ([[17, 18], [18, 17]] if balance else [[7, 28]])


GOOD = "text,label\n" + "".join(f"text {k},{'ab'[k % 2]}\n" for k in range(40))
BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no label": ("text,kind\na,b\n", {}, "line 2 has no 'label', it has 'text', 'kind'; datamodule.label=<name> "),
    "one class": ("text,label\na,b\nc,b\n", {}, "datamodule.label=label: the column has a single class, 'b'"),
    "a rare class": (f"{GOOD}more,c\n", {}, "class 'c' has 1; expected at least 3 of each"),
    "no test": (GOOD, {"test_fraction": 0.0}, "leaves no texts to test on; expected more than 0, or"),
    "two tests": (
        "text,label,split\na,b,train\nc,d,test\n", {"test": "x.csv"}, "x.csv has a split test of its own; expected one"
    ),
    "a class of test": (
        "text,label,split\na,neg,train\nb,pos,train\nc,pso,test\n", {},
        "line 4 of the split test has the class 'pso', which train lacks; did you mean pos?",
    ),
    "no train": ("text,label,split\na,b,test\nc,d,val\n", {}, "no row has the split train"),
    "fractions": (GOOD, {"val_fraction": 0.5, "test_fraction": 0.5}, "with test_fraction=0.5 nothing is left to train"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_can_t_be_used_is_refused_in_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, options, message = BAD[kind]
    Path("x.csv").write_text(content, encoding="utf-8")
    with pytest.raises(RefusedError) as refused:
        made("x.csv", **options)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


# The command line. The texts are easy to tell apart, as the model is small and its training short.

SHORT = ("experiment=classification", "trainer.accelerator=cpu", *NO_LOGGER, *fitting(SMALL))

LARGE = ("datamodule.context=128", "datamodule.batch_size=16")


@pytest.fixture(scope="module")
def run(command: Command, own_data: Path) -> Path:
    words = (f"datamodule.root={own_data / 'labelled.csv'}", "model.threshold=0.4", "model.class_weights=balanced")
    status, output = command("train.py", "name=first", *SHORT, *words, *LARGE)
    assert status == 0, output
    assert "tokens, 2 classes, texts: 280 train, 40 val, 80 test" in output
    return command.folder / "runs" / "first"


def test_packages_are_told_apart_by_their_docstrings(run: Path) -> None:
    """80 texts of two packages, equally many: the majority is right in half of them."""
    scores = json.loads((run / "metrics.json").read_text())["test"]
    assert scores["accuracy"] > 0.8
    assert scores["auroc"] > 0.9
    with (run / "predictions" / "test_split.csv").open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    targets = [row["target"] for row in rows]
    assert scores["accuracy"] == pytest.approx(accuracy_score(targets, [row["class"] for row in rows]))
    true = [target == "numpy" for target in targets]
    assert scores["auroc"] == pytest.approx(roc_auc_score(true, [float(row["numpy"]) for row in rows]))
    data: Any = load_run(run).datamodule
    data.setup("test")
    assert [row["row"] for row in rows] == data.sample_ids("test", torch.arange(80))
    plots = {"confusion_matrix", "precision_recall", "reliability", "roc"}
    assert plots <= {path.stem for path in (run / "plots").iterdir()}


def test_a_text_and_a_file_of_texts_are_classified(run: Path, command: Command, own_data: Path) -> None:
    given = described_functions()[::20]
    status, output = command("predict.py", "run=runs/first", f"input={own_data / 'labelled.csv'}", "output=all.csv")
    assert status == 0, output
    with (command.folder / "all.csv").open(encoding="utf-8") as file:
        rows = {row["text"]: row for row in csv.DictReader(file)}
    assert sum(rows[text]["class"] == label for text, label in described_functions()) > 350
    threshold = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["decision_threshold"]
    assert all((float(row["numpy"]) >= threshold) == (row["class"] == "numpy") for row in rows.values())
    (command.folder / "one.txt").write_text(given[0][0], encoding="utf-8")
    status, output = command("predict.py", "run=runs/first", "input=one.txt")
    assert status == 0, output
    row = rows[given[0][0]]
    assert f"{row['class']} (" in output
    with (run / "predictions" / "one.csv").open(encoding="utf-8") as file:
        alone = next(csv.DictReader(file))
    assert (alone["text"], alone["class"]) == (row["text"], row["class"])
    assert float(alone["numpy"]) == pytest.approx(float(row["numpy"]), abs=2e-6)
    assert command("predict.py", "run=runs/first", "input=Plot a line.")[0] == 0
    assert (run / "predictions" / "text.csv").read_text(encoding="utf-8").splitlines()[1].startswith("Plot a line.,")
    status, output = command("predict.py", "run=runs/first", "input=runs")
    assert status == 2
    assert output.startswith("input=runs: is a folder; expected a text, or a text file that holds one")


def test_other_texts_are_tested_without_those_of_the_training(run: Path, command: Command) -> None:
    new = [("Draw another line in the axes.", "matplotlib"), ("Return an array of zeros.", "numpy")]
    write_rows(command.folder / "other.jsonl", [*described_functions(), *new], NAMES)
    status, output = command("evaluate.py", "run=runs/first", "datamodule.root=other.jsonl")
    assert status == 0, output
    result = json.loads((run / "evaluation_best_on_other.json").read_text())
    assert (result["left_out"], result["samples"]) == (320, 82)
    write_rows(command.folder / "foreign.jsonl", [*new, ("Fit a model.", "sklearn")], NAMES)
    status, output = command("evaluate.py", "run=runs/first", "datamodule.root=foreign.jsonl")
    assert status == 2
    assert "its class_names is ['matplotlib', 'numpy', 'sklearn']; the model was trained with" in output


def test_data_with_classes_needs_the_recipe(command: Command, own_data: Path) -> None:
    words = ("datamodule=labelled_text", f"datamodule.root={own_data / 'labelled.csv'}", *NO_LOGGER)
    status, output = command("train.py", "name=refused", *words)
    assert status == 2
    assert "LanguageModel: the data has classes; expected experiment=classification" in output


def test_weights_and_vocabulary_come_from_a_language_model(command: Command, own_data: Path) -> None:
    words = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=[default]", *NO_LOGGER, *fitting(SMALL))
    status, output = command("train.py", "name=text", "datamodule=text", f"datamodule.root={own_data}", *words)
    assert status == 0, output
    root = f"datamodule.root={own_data / 'labelled.csv'}"
    words = (*SHORT, root, "trainer.max_epochs=1", "callbacks=[default]")
    status, output = command("train.py", "name=tuned", *words, "init_from=runs/text", "model.optimizer.lr=1e-9")
    assert status == 0, output
    source, tuned = (load_run(command.folder / "runs" / name).model for name in ("text", "tuned"))
    assert tuned.hparams["statistics"]["merges"] == source.hparams["statistics"]["merges"]
    weights = source.state_dict()
    for name, value in tuned.state_dict().items():
        assert name.startswith("head.linear.") or torch.allclose(value, weights[name], atol=1e-6)
    assert f"{len(weights)} of {len(weights) + 2} tensors fit" in output
    assert "head.linear.weight starts anew: (2, 64) here, absent there" in output


def test_folds_have_one_vocabulary_and_predict_together(command: Command, own_data: Path) -> None:
    root = f"datamodule.root={own_data / 'labelled.csv'}"
    status, output = command("train.py", "name=cv", "folds=2", *SHORT, root, "trainer.max_epochs=1")
    assert status == 0, output
    folds = [load_run(command.folder / "runs" / "cv" / f"fold_{k}").model.hparams["statistics"] for k in (1, 2)]
    assert folds[0]["merges"] == folds[1]["merges"]
    status, output = command("predict.py", "run=runs/cv", "input=Plot a line.")
    assert status == 0, output


@pytest.mark.parametrize("model", ["gpt", "lstm"])
def test_a_killed_classifier_resumes_bit_identical(model: str, command: Command, own_data: Path) -> None:
    root = f"datamodule.root={own_data / 'labelled.csv'}"
    more = ("datamodule.balance=true", "model.network.dropout=0.2", f"model={model}", *fitting(SMALL, model))
    check_killed(command, f"texts_{model}", "experiment=classification", root, *more)
