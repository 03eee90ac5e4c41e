"""A finished run: prompts, evaluation on other text with the learnt vocabulary, and samples during training."""

import json
from pathlib import Path

import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from starter import SMALL, write_inputs

SHORT = (
    "trainer.max_epochs=2", "trainer.limit_train_batches=6", "trainer.limit_val_batches=2",
    "trainer.accelerator=cpu", "callbacks.samples.max_new_tokens=10", *NO_LOGGER, *fitting(SMALL),
)  # fmt: skip
FEW = "datamodule.max_new_tokens=12"


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    status, output = command("train.py", "name=first", *SHORT)
    assert status == 0, output
    return command.folder / "runs" / "first"


def test_the_continuation_of_a_prompt_is_printed_and_saved(run: Path, command: Command) -> None:
    status, output = command("predict.py", "run=runs/first", "input=def main(", FEW)
    assert status == 0, output
    text = (run / "predictions" / "prompt.txt").read_text(encoding="utf-8")
    assert text.startswith("def main(")
    assert len(text) > len("def main(")
    assert output.startswith(text)


def test_temperature_seed_and_a_file_as_prompt(run: Path, command: Command) -> None:
    name = write_inputs(command.folder)
    texts = []
    seed, greedy = "datamodule.seed=5", "datamodule.temperature=0"
    for number, words in enumerate(((), (), (seed,), (greedy,), (seed, greedy))):
        status, output = command("predict.py", "run=runs/first", f"input={name}", f"output={number}.txt", FEW, *words)
        assert status == 0, output
        texts.append((command.folder / f"{number}.txt").read_bytes())
    assert texts[0] == texts[1] != texts[2]
    assert texts[3] == texts[4]
    assert all(text.startswith((command.folder / name).read_bytes()) for text in texts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("input=runs",), "input=runs: is a folder; expected a prompt, or a text file that holds one"),
        (("input=binary.txt",), "input=binary.txt: can't be read as UTF-8 text"),
        (("input=x", "datamodule.top_p=0"), "datamodule.top_p=0: expected a value greater than 0"),
        (("input=x", "datamodule.temperature=1e9"), "datamodule.temperature=1000000000.0: expected a value less than"),
        (("input=x", "datamodule.temperature=-1"), "datamodule.temperature=-1: expected a value greater than or equal"),
    ],
)
def test_a_prompt_that_makes_no_sense_is_refused(
    words: tuple[str, ...], message: str, run: Path, command: Command
) -> None:
    (command.folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    status, output = command("predict.py", "run=runs/first", *words)
    assert status == 2, output
    assert message in output
    assert len(output.strip().splitlines()) == 1


def test_other_text_is_tested_with_the_vocabulary_that_the_model_has_learnt(
    run: Path, command: Command, own_data: Path
) -> None:
    other = command.folder / "other"  # text that the model was not trained on
    other.mkdir()
    for file in own_data.glob("[a-h]*.txt"):
        lines = file.read_bytes().decode(errors="replace").splitlines()
        (other / file.name).write_text("\n".join(" ".join(line.split()[::-1]) for line in lines), encoding="utf-8")
    words = ("datamodule=text", "datamodule.root=other", "datamodule.context=32")
    results = []
    names = ("evaluation_best_on_other.json", "evaluation_best_on_other_2.json")
    for vocab_size, name in zip((300, 2048), names, strict=True):  # ignored: the model's vocabulary counts
        status, output = command("evaluate.py", "run=runs/first", *words, f"datamodule.vocab_size={vocab_size}")
        assert status == 0, output
        results.append(json.loads((run / name).read_text())["test"])
    assert results[0] == results[1]


def test_samples_are_written_at_each_validation_and_change_nothing(run: Path, command: Command) -> None:
    text = (run / "samples.txt").read_text(encoding="utf-8")
    assert text.count("=== step ") == 2
    assert "=== step 6, " in text
    assert "\ndef" in text
    words = [word for word in SHORT if not word.startswith("callbacks.")]
    assert command("train.py", "name=without", *words, "callbacks=[default]")[0] == 0
    weights = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (run, run.with_name("without"))
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_checkpoint_holds_the_vocabulary_as_plain_numbers(run: Path) -> None:
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["hyper_parameters"]
    merges = content["statistics"]["merges"]
    assert len(merges) == 512 - 257
    assert all(0 <= one < 256 + number and 0 <= other < 256 + number for number, (one, other) in enumerate(merges))
