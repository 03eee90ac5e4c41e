"""Pairs of prompt and answer: each is a window of its own, the answers alone count, and bad rows are named."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from starter import SMALL, letter_pairs, write_rows

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.datamodules.pairs import PairsDataModule
from {{ cookiecutter.package_name }}.datamodules.rows import read_rows
from {{ cookiecutter.package_name }}.datamodules.tokenizer import Vocabulary
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.models.generate import generate
from {{ cookiecutter.package_name }}.models.gpt import GPT
from {{ cookiecutter.package_name }}.models.language_model import LanguageModel

NETWORK = {"_target_": f"{GPT.__module__}.GPT", "width": 32, "layers": 2}


def write_pairs(path: Path, pairs: Iterable[tuple[str, ...]], names: tuple[str, ...] = ("prompt", "answer")) -> str:
    """Write rows as the suffix says."""
    return write_rows(path, pairs, names)


def made(root: str | Path, **options: Any) -> PairsDataModule:
    sizes: dict[str, Any] = {"vocab_size": 300, "context": 40, "batch_size": 7}
    data = PairsDataModule(Path(root), **sizes | options)
    data.setup("fit")
    return data


def test_every_pair_is_once_in_a_window_of_its_own_and_its_answer_counts(tmp_path: Path) -> None:
    given = [*letter_pairs(), ("two\nlines", 'says "yes", and no'), ("π?", "3.14159 €")]
    data = made(write_pairs(tmp_path / "pairs.jsonl", given))
    vocabulary, found = Vocabulary(**data.statistics), []
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for windows, counted in loader:
            assert windows.shape[1] == counted.shape[1] + 1 <= 41
            for window, counts in zip(windows, counted, strict=True):
                assert window[0] == vocabulary.end
                answer = window[1:][counts].tolist()
                prompt = window[1 : 1 + int(counts.nonzero()[0])].tolist()
                assert answer.pop() == prompt.pop() == vocabulary.end
                found.append((vocabulary.decode(prompt), vocabulary.decode(answer)))
                assert set(window[len(prompt) + len(answer) + 2 :].tolist()) == {vocabulary.end}
    assert sorted(found) == sorted(given)


def test_loss_and_metrics_are_those_of_the_answers(tmp_path: Path) -> None:
    data = made(write_pairs(tmp_path / "pairs.jsonl", letter_pairs()))
    torch.manual_seed(0)
    model = LanguageModel(NETWORK, {}, **data.facts).eval()
    torch.nn.init.normal_(model.network.embedding.weight, std=0.3)
    nats, tokens, size = 0.0, 0, 0
    batch = next(iter(data.test_dataloader()))
    for row in [data.rows["test"][number] for number in data.kept["test"][:7].tolist()]:
        prompt = data.encode_prompt(row.texts[0], model.vocabulary)[0].tolist()
        answer = [*model.vocabulary.encode(row.texts[1]), model.vocabulary.end]
        logits = model(torch.tensor([prompt + answer]))[0, len(prompt) - 1 : -1]
        nats += torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item()
        tokens, size = tokens + len(answer), size + len(row.texts[1].encode())
    logged: dict[str, Any] = {}
    model.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign]
    model.log = lambda *_, **__: None  # type: ignore[method-assign]
    model._evaluation_step(batch)
    model._log_epoch("test")
    assert model.training_step(batch, 0).item() == pytest.approx(nats / tokens, rel=1e-4)
    assert logged["test/loss"].item() == pytest.approx(nats / tokens, rel=1e-4)
    assert logged["test/bits_per_byte"].item() == pytest.approx(nats / size / math.log(2), rel=1e-4)


def test_a_model_that_has_learnt_its_pairs_answers_each_prompt(tmp_path: Path) -> None:
    given = [(word, answer) for word, answer in letter_pairs() if answer.startswith("latin capital letter e with")]
    data = made(write_pairs(tmp_path / "pairs.jsonl", given), batch_size=len(given))
    torch.manual_seed(0)
    model = LanguageModel(NETWORK, {}, **data.facts)
    model.log = lambda *_, **__: None  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batch = next(iter(data.train_dataloader()))
    for _ in range(80):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()
    end, model = model.vocabulary.end, model.eval()
    for row in data.rows["train"]:
        prompt = data.encode_prompt(row.texts[0], model.vocabulary)
        answer = model.vocabulary.decode(generate(model, prompt, end, 40, temperature=0))
        assert answer == row.texts[1]


def test_each_format_gives_the_same_pairs_under_any_names(tmp_path: Path) -> None:
    given = [*letter_pairs()[:40], ("one\r\ntwo", 'a "b", c;\td'), ("x" * 200_000, "long")]
    for suffix in (".jsonl", ".json", ".csv", ".tsv"):
        path = Path(write_pairs(tmp_path / f"pairs{suffix}", given, ("question", "reply")))
        assert [row.texts for row in read_rows(path, {"prompt": "question", "answer": "reply"})] == given
    data = made(tmp_path / "pairs.csv", prompt="question", answer="reply")
    assert len(data.rows["train"]) + len(data.rows["val"]) + len(data.rows["test"]) == len(given)


def test_equal_prompts_stay_in_one_split_and_a_column_says_the_split(tmp_path: Path) -> None:
    twice = [(prompt, f"{answer} {number}") for prompt, answer in letter_pairs() for number in (1, 2)]
    data = made(write_pairs(tmp_path / "pairs.jsonl", twice))
    prompts = [{row.texts[0] for row in part} for part in data.rows.values()]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == len(twice) / 2
    words = ("train", "Test", "train", "validation", "training")
    given = [(*pair, words[number % 5]) for number, pair in enumerate(letter_pairs())]
    data = made(write_pairs(tmp_path / "split.csv", given, ("prompt", "answer", "split")))
    expected = {"train": {0, 2, 4}, "val": {3}, "test": {1}}
    for name, rows in data.rows.items():
        assert {(row.line - 2) % 5 for row in rows} == expected[name]
    assert data.sample_ids("val", torch.tensor([0])) == ["line 5"]


def test_equal_prompts_of_train_do_not_validate(tmp_path: Path) -> None:
    given = [(f"{k % 50}?", f"answer {k}", "train" if k % 50 < 45 else "test") for k in range(200)]
    data = made(write_pairs(tmp_path / "split.jsonl", given, ("prompt", "answer", "split")))
    prompts = {name: {row.texts[0] for row in rows} for name, rows in data.rows.items()}
    assert not prompts["train"] & prompts["val"]
    assert prompts["test"] == {f"{k}?" for k in range(45, 50)}
    assert len(data.rows["train"]) + len(data.rows["val"]) == 180


def test_a_file_of_prompts_may_have_a_column_split(tmp_path: Path) -> None:
    rows = [("one?", "holdout"), ("two?", "")]
    asked = write_pairs(tmp_path / "questions.csv", rows, ("prompt", "split"))
    assert PairsDataModule(tmp_path, vocab_size=300, context=40, batch_size=7).read_prompts(asked) == ["one?", "two?"]


def test_pairs_longer_than_a_window_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("{{ cookiecutter.package_name }}.engine.logs.log.propagate", True)
    given = [*letter_pairs(), ("a", "b" * 60)]
    path = write_pairs(tmp_path / "pairs.jsonl", [(*pair, "train") for pair in given], ("prompt", "answer", "split"))
    data = made(path, tokenizer="bytes", context=63)
    assert "Left out" not in caplog.text
    data = made(path, tokenizer="bytes", context=62)
    assert f"1 of {len(data.rows['train'])} train pairs in {path} have more tokens: line {len(given)}; " in caplog.text
    assert "datamodule.context=63 takes them all" in caplog.text
    assert len(data.dataset("train")) == len(data.rows["train"]) - 1
    with pytest.raises(RefusedError, match=r"^datamodule\.context=3: .* takes them all$"):
        made(path, tokenizer="bytes", context=3)


GOOD = '{"prompt": "a", "answer": "b"}\n'
BAD = {
    "no JSON": ("x.jsonl", f"{GOOD}oops\n", "line 2 is not JSON: Expecting value"),
    "no object": ("x.jsonl", f"{GOOD}[1]\n", "line 2 is a list; expected an object with the name"),
    "no answer": ("x.json", '[{"prompt": "a"}]', "no 'answer', it has 'prompt'; datamodule.answer=<name> names"),
    "no text": ("x.json", '[{"prompt": ["a"], "answer": "b"}]', "line 1: 'prompt' is a list; expected a text"),
    "no list": ("x.json", GOOD, "expected a list of objects"),
    "a short row": ("x.csv", "prompt,answer\na,b\nc\n", "line 3 has 1 values; expected 2, as line 1"),
    "another column": ("x.csv", "prompt;answer\na;b\n", "line 2 has no 'prompt', it has 'prompt;answer'"),
    "an open quotation mark": ("x.csv", 'prompt,answer\na,"b\n', "unexpected end of data"),
    "another split": ("x.csv", "prompt,answer,split\na,b,dev2\n", "line 2: split 'dev2'; expected train, val or test"),
    "half a split": ("x.csv", "prompt,answer,split\na,b,test\nc,d,\n", "line 3 has no split"),
    "no train": ("x.csv", "prompt,answer,split\na,b,test\nc,d,val\n", "no row has the split train"),
    "only empty answers": ("x.csv", "prompt,answer\na,\n", "has no row with prompt and answer"),
    "another encoding": ("x.csv", "prompt,answer\na,\udce4\n", "is not UTF-8"),
    "another kind": ("x.txt", GOOD, "expected a .jsonl, .json, .csv, .tsv file"),
    "too few": ("x.jsonl", GOOD, "1 pairs are too few to be split"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_can_t_be_used_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    name, content, message = BAD[kind]
    (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(RefusedError) as refused:
        made(tmp_path / name)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.fixture(scope="module")
def run(command: Command, own_data: Path) -> Path:
    words = ("trainer.max_epochs=2", "trainer.accelerator=cpu", *NO_LOGGER, *fitting(SMALL))
    more = ("datamodule=pairs", f"datamodule.root={own_data / 'pairs.jsonl'}", "callbacks.samples.prompt='é'")
    status, output = command("train.py", "name=pairs", *words, *more, "callbacks.samples.max_new_tokens=8")
    assert status == 0, output
    assert "tokens; pairs: " in output
    return command.folder / "runs" / "pairs"


def test_a_prompt_and_a_file_of_prompts_are_answered(run: Path, command: Command) -> None:
    words = ("predict.py", "run=runs/pairs", "datamodule.max_new_tokens=6")
    status, output = command(*words, "input='é'")
    assert status == 0, output
    row = json.loads((run / "predictions" / "prompt.jsonl").read_text(encoding="utf-8"))
    assert row["prompt"] == "é"
    assert output.startswith(f"é\n{row['answer']}\n")
    write_pairs(command.folder / "asked.csv", [("é",), ("ß",), ("two\nlines",)], ("prompt",))
    status, output = command(*words, "input=asked.csv")
    assert status == 0, output
    lines = (run / "predictions" / "asked.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == ["é", "ß", "two\nlines"]
    assert json.loads(lines[0]) == row
    write_pairs(command.folder / "other.csv", [("é",)], ("question",))
    status, output = command(*words, "input=other.csv")
    assert status == 2
    assert output.startswith("input=other.csv: line 2 has no 'prompt', it has 'question'; datamodule.prompt=<name> ")


def test_other_pairs_are_tested_without_those_of_the_training(run: Path, command: Command) -> None:
    new = [(chr(code), f"letter {code}") for code in range(0x400, 0x410)]
    write_pairs(command.folder / "other.jsonl", [*letter_pairs(), *new])
    status, output = command("evaluate.py", "run=runs/pairs", "datamodule.root=other.jsonl")
    assert status == 0, output
    result = json.loads((run / "evaluation_best_on_other.json").read_text())
    samples = json.loads((run / "metrics.json").read_text())["samples"]
    assert result["left_out"] == samples["train"] + samples["val"]
    assert result["samples"] == len(letter_pairs()) + len(new) - result["left_out"]


def test_a_run_that_starts_from_another_can_use_its_vocabulary(run: Path, command: Command, own_data: Path) -> None:
    words = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=[default]", *NO_LOGGER, *fitting(SMALL))
    text = ("datamodule=text", f"datamodule.root={own_data}", "init_from=runs/pairs")
    for name, more in {"own": (), "same": ("datamodule.vocabulary=runs/pairs",)}.items():
        status, output = command("train.py", f"name={name}", *words, *text, *more, "trainer.limit_train_batches=2")
        assert status == 0, output
    merges = {
        name: load_run(run.with_name(name)).model.hparams["statistics"]["merges"] for name in ("pairs", "own", "same")
    }
    assert merges["same"] == merges["pairs"] != merges["own"]
    status, output = command("train.py", "name=none", *words, *text, "datamodule.vocabulary=runs/none")
    assert status == 2
    assert "\ndatamodule.vocabulary=runs/none: expected the folder of a finished run of a language model" in output
