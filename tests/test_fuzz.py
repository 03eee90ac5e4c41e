"""Mutated command lines and YAML files: each is accepted and can then be trained, or is refused in one line.

make fuzz CASES=10000 [SEED=7]
"""

import contextlib
import functools
import io
import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import ROOT, run
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("FUZZ_CASES", "2000"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1, 10**6)
REAL = max(60, CASES // 40)
TRAINED = max(12, CASES // 200)
# Take a training through every phase, whatever else the case asks for.
SHORT = (
    "trainer.max_steps=3", "++trainer.max_time={minutes: 1}", "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2", "trainer.enable_progress_bar=false", "trainer.devices=1", "trainer.num_nodes=1",
)  # fmt: skip

pytestmark = pytest.mark.long

VALUES = [
    "0", "1", "-1", "2", "7", "0.5", "-0.5", "1.2", "1e-3", "1e400", "nan", "inf", "-inf", "true", "false",
    "null", "???", "abc", "''", "' '", "'5'", "auto", "best", "last", "[]", "[1]", "[a,b]", "[[1]]", "{}",
    "{a:1}", "{_target_:os.system}", "${seed}", "${nope}", "${oc.env:NOPE}", "${a", "32-true", "fp7",
    "bf16-mixed", "cpu", "gpu", "ddp", "val/loss", "val/acc", "max", "torch.optim.SGD", "torch.optim.AdamWW",
    "os.system", "builtins.eval", "torch.load", "a/b", "..", "/root/x", "con", "é", "日本", "a b", "x" * 300,
    "\\", "\"", "\u0000", "1,2", "range(3)", "=", "==", "@", "#", "~", "%",
]  # fmt: skip
JUNK = st.text(alphabet="abz019._-=+~${}[]():,'\"/\\@#* \té\n", max_size=12)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, user_config: Path) -> Path:
    """A rendered project whose package has its own name, so that this process can import it."""
    out = tmp_path_factory.mktemp("fuzz")
    answers = {"project_name": "Fuzzed Project"}
    made = cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=out, config_file=str(user_config))
    sys.path.insert(0, made)
    return Path(made)


def keys_of(node: Any, path: str = "") -> Iterator[str]:
    """Yield every key of a config, including groups and lists."""
    for name, part in node.items() if isinstance(node, dict) else ():
        key = f"{path}.{name}".lstrip(".")
        yield key
        yield from keys_of(part, key)


def mutated(draw: Callable[..., Any], word: str) -> str:
    """Return a word with a letter dropped, doubled, changed or swapped with its neighbour."""
    if len(word) < 2:
        return word
    at = draw(st.integers(0, len(word) - 2))
    changes = [word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:], f"{word[:at]}x{word[at + 1 :]}"]
    changes.append(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
    return draw(st.sampled_from(changes))


@st.composite
def command_lines(draw: Callable[..., Any], keys: list[str], options: list[str]) -> list[str]:
    """Draw one to three overrides: valid, mutated or junk."""
    words = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 9))
        key = draw(st.sampled_from(keys))
        if kind == 0:
            words.append(draw(JUNK))
            continue
        if kind == 1:
            words.append(draw(st.sampled_from(options)))
            continue
        if kind == 2:
            words.append(mutated(draw, draw(st.sampled_from(options))))
            continue
        key = mutated(draw, key) if kind == 3 else key
        sign = draw(st.sampled_from(["", "", "", "", "+", "++", "~"]))
        value = draw(JUNK) if kind == 4 else draw(st.sampled_from(VALUES))
        words.append(sign + key + ("" if sign == "~" else f"={value}"))
    return [word for word in words if not word.startswith("-") and "\x00" not in word and not word.startswith("hydra")]


@st.composite
def broken_files(draw: Callable[..., Any], files: dict[str, str]) -> tuple[str, str]:
    """Draw a file, with one or two of its lines changed."""
    name = draw(st.sampled_from(sorted(files)))
    lines = files[name].splitlines()
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(lines) - 1))
        indent, key, value = re.fullmatch(r"(\s*-?\s*)([^:]*)(.*)", lines[at], re.DOTALL).groups()
        choices = [
            [], [lines[at]] * 2, [f"  {lines[at]}"], [lines[at].strip()], [f"{indent}{mutated(draw, key)}{value}"],
            [f"{indent}{key}: {draw(st.sampled_from(VALUES))}"], [draw(JUNK)],
        ]  # fmt: skip
        lines[at : at + 1] = draw(st.sampled_from(choices)) or ([""] if len(lines) == 1 else [])
    return name, "\n".join(lines) + "\n"


class Door:
    """train.py of a rendered project in this process, up to where training would begin."""

    def __init__(self, project: Path, folder: Path) -> None:
        from fuzzed_project.engine.cli import command
        from fuzzed_project.engine.training import train

        self.folder, self.command, self.train = folder, command, train

        def main(config_path: str, config_name: str, **_: Any) -> Any:
            """Compose as Hydra's does, in this process."""
            compose = functools.partial(command.compose_config, Path(config_path), config_name)
            return lambda job: lambda: job(compose(sys.argv[1:]))

        command.hydra = SimpleNamespace(main=main)
        shutil.copy(project / "train.py", folder)
        shutil.copytree(project / "configs", folder / "configs")
        self.files = {
            path.relative_to(folder / "configs").as_posix(): path.read_text(encoding="utf-8")
            for path in (folder / "configs").rglob("*.yaml")
        }

    def outcome(self, words: list[str]) -> tuple[int, str]:
        """Return the exit status and the output."""

        said, status, before = io.StringIO(), 0, Path.cwd()
        sys.argv = [str(self.folder / "train.py"), *words]
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            os.chdir(self.folder)
            try:
                self.command.CommandLine(self.train.check_built, Path(sys.argv[0])).run()
            except SystemExit as stop:
                status = int(stop.code or 0)
            finally:
                os.chdir(before)
        return status, said.getvalue()


def assert_sound(status: int, said: str, folder: Path) -> None:
    """Check that the words were accepted, or refused in one line, and that nothing was written."""
    assert status in (0, 2), said
    assert status == 0 or len(said.strip().splitlines()) == 1, said
    assert "Traceback" not in said
    assert {path.name for path in folder.iterdir()} <= {"train.py", "configs"}


def assert_trainable(accepted: list[list[str]], project: Path) -> None:
    """Check that each command line trains, or is refused in one line for its data, and leaves no run."""
    for number, words in enumerate(accepted):
        done = run(sys.executable, "train.py", "trainer=debug", *words, *SHORT, f"name=run{number}", cwd=project)
        assert done.returncode in (0, 2), (words, done.stdout[-2000:], done.stderr[-2000:])
        if done.returncode == 2:  # for a reason that only the data shows
            assert len(done.stderr.strip().splitlines()) == 1, (words, done.stderr)
            assert not (project / "runs" / f"run{number}").exists(), (words, done.stderr)


def fuzz(cases: int) -> Callable[[Any], Any]:
    """Return settings of hypothesis for `cases` cases with the seed of this run."""
    quiet = settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    return lambda test: seed(SEED)(quiet(test))


def test_mutated_command_lines_and_files(project: Path, tmp_path: Path) -> None:
    print(f"SEED={SEED}")
    door = Door(project, tmp_path)
    shown = run(sys.executable, "train.py", "--cfg", "job", cwd=project)
    keys = [*keys_of(yaml.safe_load(shown.stdout))]
    options = [f"{name.partition('/')[0]}={Path(name).stem}" for name in door.files if "/" in name]
    accepted: list[list[str]] = []
    counts = {0: 0, 2: 0}

    @fuzz(CASES // 2)
    @given(command_lines(keys, options))
    def command_line(words: list[str]) -> None:
        status, said = door.outcome(words)
        assert_sound(status, said, tmp_path)
        counts[status] += 1
        if status == 0:
            accepted.append(words)

    @fuzz(CASES - CASES // 2)
    @given(broken_files(door.files))
    def file(broken: tuple[str, str]) -> None:
        name, text = broken
        path = tmp_path / "configs" / name
        path.write_text(text, encoding="utf-8")
        group, _, option = name.rpartition("/")
        try:
            status, said = door.outcome([f"{group}={option.removesuffix('.yaml')}"] if group else [])
            assert_sound(status, said, tmp_path)
            counts[status] += 1
        finally:
            path.write_text(door.files[name], encoding="utf-8")

    command_line()
    file()
    print(f"{counts[0]} accepted, {counts[2]} refused")
    assert min(counts.values()) > CASES // 20, "the cases are not of both kinds"
    assert_trainable(random.Random(SEED).sample(accepted, TRAINED), project)


def test_mutated_configs_of_a_run_folder_from_elsewhere(project: Path, tmp_path: Path) -> None:
    from fuzzed_project.engine.cli import command
    from fuzzed_project.engine.cli import requests as runs
    from fuzzed_project.engine.errors import RefusedError

    print(f"SEED={SEED}")
    folder_of_run = tmp_path / "run"
    (folder_of_run / "checkpoints").mkdir(parents=True)
    (folder_of_run / "checkpoints" / "best.ckpt").touch()
    shown = run(sys.executable, "train.py", "--cfg", "job", "--resolve", "name=run", "mode=min", cwd=project)
    assert shown.returncode == 0, shown.stderr
    cfg = command.compose_config(project / "configs", "evaluate", [f"run={folder_of_run}"])
    counts = {"accepted": 0, "refused": 0}

    @fuzz(CASES)
    @given(broken_files({"config.yaml": shown.stdout}))
    def config(broken: tuple[str, str]) -> None:
        (folder_of_run / "config.yaml").write_text(broken[1], encoding="utf-8")
        said = ""
        try:
            runs.choose_run(cfg)
        except RefusedError as error:
            said = str(error)
        assert len(said.splitlines()) == (1 if said else 0)
        counts["refused" if said else "accepted"] += 1

    config()
    print(counts)
    assert min(counts.values()) > CASES // 20, "the cases are not of both kinds"


def test_mutated_command_lines_of_the_real_train_py(project: Path, tmp_path: Path) -> None:
    print(f"SEED={SEED}")
    shown = run(sys.executable, "train.py", "--cfg", "job", cwd=project)
    keys = [*keys_of(yaml.safe_load(shown.stdout))]
    options = ["model=mlp", "trainer=debug", "callbacks=[default]", "experiment=fine_tune"]

    @fuzz(REAL)
    @given(command_lines(keys, options))
    def command_line(words: list[str]) -> None:
        done = run(sys.executable, project / "train.py", "--check", *words, cwd=tmp_path)
        assert_sound(done.returncode, done.stderr if done.returncode else "", tmp_path)

    command_line()
