"""Untrusted names and values reach terminal and log without control characters; one line stays one line."""

import io
import logging
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Command
from omegaconf import OmegaConf
from test_resume import QUICK

from my_project.engine.cli.command import CommandLine
from my_project.engine.errors import FailedError, RefusedError, printable, refusal
from my_project.engine.logs import end_log_file, log, start_log

# Window title, colour, carriage return, newline, C1 control, paragraph separator, right-to-left override, isolate, lone
# surrogate, tag.
SIGNS = ("\x1b]0;owned\x07", "\x1b[31m", "\r", "\n", "\x9b2J", "\u2029", "\u202e", "\u2066", "\udc80", "\U000e0041")
HOSTILE = "a" + "".join(SIGNS) + "b"
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]")


def assert_harmless(said: str, lines: int = 1) -> None:
    assert not ACTS.search(said), ascii(said)
    assert len(said.strip("\n").split("\n")) == lines, said


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_a_sign_that_a_terminal_acts_on_is_shown_as_an_escape(sign: str) -> None:
    shown = printable(f"a{sign}b")
    assert_harmless(shown)
    assert shown[0] + shown[-1] == "ab"
    assert printable(shown) == shown
    assert shown[1:-1] in str(refusal("key", f"a{sign}b", "why"))


@pytest.mark.parametrize(
    "text", ["naïve", "北京", "👩\u200d🔬", "שלום", "می\u200cخواهم", "C:\\new\\table", "0.5 ± 0.1", "�"]
)
def test_text_in_any_language_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_text_that_may_have_lines_keeps_them() -> None:
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


@pytest.fixture(scope="module")
def theirs(command: Command) -> Path:
    """An untrusted run folder."""
    status, said = command("train.py", "name=ours", *QUICK)
    assert status == 0, said
    return Path(shutil.copytree(command.folder / "runs" / "ours", command.folder / "runs" / "theirs"))


@pytest.mark.parametrize("change", [
    {HOSTILE[:-10]: 1}, {"monitor": HOSTILE[:-10]}, {"trainer": {HOSTILE[:-10]: 1}},
    {"model": {"_target_": HOSTILE[:-10]}}, {"seed": HOSTILE[:-10]}, {"name": HOSTILE[:-10]},
], ids=lambda change: ascii(change)[:12])  # fmt: skip
def test_keys_and_values_of_a_saved_config(change: dict[str, Any], theirs: Path, command: Command) -> None:
    saved = (command.folder / "runs" / "ours" / "config.yaml").read_text(encoding="utf-8")
    cfg = OmegaConf.merge(OmegaConf.create(saved), change)
    (theirs / "config.yaml").write_text(OmegaConf.to_yaml(cfg), encoding="utf-8")
    for words in (("evaluate.py", "run=runs/theirs"), ("train.py", "rerun=runs/theirs", "name=again")):
        status, said = command(*words)
        if status == 2:
            assert_harmless(said)
        else:  # evaluation accepts some names
            assert status == 0, said
            assert not ACTS.search(said)
    shutil.rmtree(command.folder / "runs" / "again", ignore_errors=True)


def test_hyper_parameters(theirs: Path, command: Command) -> None:
    shutil.copy(command.folder / "runs" / "ours" / "config.yaml", theirs)
    path = theirs / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["network"][HOSTILE[:-10]] = HOSTILE
    torch.save(content, path)
    status, said = command("evaluate.py", "run=runs/theirs")
    assert status == 2
    assert_harmless(said)


def test_names_of_files(theirs: Path, command: Command) -> None:
    (theirs / "a\x1b[31m\nb").symlink_to("/")
    status, said = command("evaluate.py", "run=runs/theirs")
    assert status == 2
    assert_harmless(said)
    assert r"a\x1b[31m\nb is a link" in said
    (theirs / "a\x1b[31m\nb").unlink()


@pytest.mark.parametrize(("error", "lines"), [
    (RefusedError(HOSTILE), 1), (FailedError(HOSTILE), 1), (ValueError(HOSTILE), 3), (KeyError(HOSTILE), 3),
])  # fmt: skip
def test_errors(
    error: Exception, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start_log(tmp_path / "train.log")

    def fail(_: Any) -> None:
        raise error

    monkeypatch.setattr("my_project.engine.cli.command._check", lambda _: None)
    with pytest.raises(SystemExit):
        CommandLine(fail, ROOT / "train.py").work(OmegaConf.create({"name": "x"}))
    end_log_file()
    assert_harmless(capsys.readouterr().err, lines)
    assert not ACTS.search((tmp_path / "train.log").read_text(encoding="utf-8"))


def test_log_and_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = HOSTILE.replace("\udc80", "")  # pytest-xdist forwards the log, and can't encode a lone surrogate
    console = io.StringIO()
    monkeypatch.setattr(sys, "stdout", console)
    path = tmp_path / "train.log"
    logging.captureWarnings(False)  # set by pytest
    start_log(path)
    log.info(f"Left out: {hostile}")
    warnings.warn(f"{hostile}\n  and more", stacklevel=1)
    logging.getLogger("py.warnings").warning(hostile)
    end_log_file()
    logging.captureWarnings(False)
    assert_harmless(console.getvalue())
    assert_harmless(path.read_text(encoding="utf-8"), lines=3)
