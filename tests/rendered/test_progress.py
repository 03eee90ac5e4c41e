"""What a training shows while it works, on a terminal and without one, and the commands that it names at the end."""

import itertools
import os
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, Command
from starter import SMALL, write_inputs

from my_project.engine.training import progress

BATCHES = ("trainer.limit_train_batches=3", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2")
WORDS = ("train.py", "trainer.max_epochs=3", *BATCHES, "callbacks=[default]", "trainer.accelerator=cpu", *SMALL)


def drawn_on_a_terminal(words: tuple[str, ...], folder: Path) -> str:
    """Run a command whose output is a terminal of 160 columns, and return all that it writes."""
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    process = subprocess.Popen([sys.executable, ROOT / words[0], *words[1:]], cwd=folder, stdout=theirs, stderr=theirs)
    os.close(theirs)
    parts: list[bytes] = []
    try:
        while part := os.read(ours, 2**16):
            parts.append(part)
    except OSError:  # Linux reports the end in this way
        pass
    os.close(ours)
    assert process.wait() == 0, b"".join(parts).decode()
    return b"".join(parts).decode()


def test_terminal_shows_a_bar_of_the_whole_training_and_the_end_names_commands_that_work(command: Command) -> None:
    """An epoch has fewer batches than Lightning's bar waits for. The placeholder of an input is replaced by a file."""
    text = drawn_on_a_terminal((*WORDS, "name=shown"), command.folder)
    bars = re.findall(r"Epoch (\d) of 3 +(\d+)%\|.*?\d\d:\d\d passed, (\S+) left(.*)", text.replace("\r", "\n"))
    assert (bars[0][0], bars[0][1]) == ("1", "11")
    assert any("loss" in metrics for _, _, _, metrics in bars)
    assert (bars[-1][0], bars[-1][1], bars[-1][2]) == ("3", "100", "00:00")
    shares = [int(share) for _, share, _, _ in bars]
    assert shares == sorted(shares)
    lines = re.findall(r"python (.*)", text[text.index("Next") :])
    assert [line.split()[0] for line in lines] == ["predict.py", "evaluate.py"]
    given = write_inputs(command.folder)
    for line in lines:
        status, output = command(*shlex.split(re.sub(r"<.*>", shlex.quote(given), line.strip())))
        assert status == 0, output


def test_without_a_terminal_each_epoch_is_a_line_of_the_log(command: Command) -> None:
    """Also an epoch without a validation."""
    status, output = command(
        *WORDS, "name=logged", "trainer.check_val_every_n_epoch=2", "trainer.num_sanity_val_steps=0"
    )
    assert status == 0, output
    log = (command.folder / "runs" / "logged" / "train.log").read_text(encoding="utf-8")
    for text in (output, log):
        epochs = re.findall(r"Epoch (\d) of 3, step (\d+): (.*)", text)
        assert [int(number) for number, *_ in epochs] == [1, 2, 3]
        assert all("loss" in metrics for *_, metrics in epochs)
        assert [bool(re.search(r"; \d\d:\d\d left$", metrics)) for *_, metrics in epochs] == [True, True, False]


@pytest.mark.parametrize("seconds", [0.001, 0.03, 0.4])
def test_bar_is_drawn_ten_times_a_second_whatever_a_step_takes(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own: at most every 0.1 s, and no step later than that."""
    now, drawn = [0.0], list[float]()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    bar = progress.Bar()
    monkeypatch.setattr(bar, "_draw", lambda trainer, text: drawn.append(now[0]))
    bar.train_progress_bar = SimpleNamespace(n=0)  # type: ignore[assignment]
    shown: Any = {"progress_bar_metrics": {}, "callback_metrics": {}, "checkpoint_callback": None}
    trainer: Any = SimpleNamespace(num_training_batches=5, current_epoch=0, **shown)
    for batch in range(1000):
        trainer.current_epoch = batch // 5
        bar.on_train_batch_end(trainer, None, None, None, batch % 5)  # type: ignore[arg-type]
        now[0] += seconds
    gaps = [after - before for before, after in itertools.pairwise(drawn)]
    assert 0.1 <= min(gaps) <= max(gaps) < 0.1 + seconds + 1e-9
