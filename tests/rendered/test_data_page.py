"""Every file and every command of DATA.md: the files with as many rows or copies as a training needs."""

import json
import re
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, copy_of_project, fitting
from PIL import Image
from starter import SMALL
from test_readme import DRIVER, SHORT

PAGE = (ROOT / "DATA.md").read_text(encoding="utf-8")
COPIES = 120
TIME = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d)?")


def named_files() -> dict[str, str]:
    """Each file with its text. The prose before a block names the file; in a block of no kind, each line is one."""
    found, names = {}, []
    for part, text in enumerate(PAGE.split("```")):
        if part % 2 == 0:
            names = re.findall(r"`(\w+\.\w+)`", text) or names
            continue
        kind, _, content = text.partition("\n")
        if not kind:
            found |= dict.fromkeys(content.split(), "")
        elif kind != "bash":
            found[next(name for name in names if name.endswith(f".{kind}"))] = content
    return found


def changed(cell: str, copy: int, span: float) -> str:
    """The cell of another copy of the rows: a later time, another file or text; `span` is the days of all rows."""
    if TIME.fullmatch(cell):
        moved = datetime.fromisoformat(cell).timestamp() + copy * span * 86400
        return datetime.fromtimestamp(moved).isoformat(" ", "minutes")[: len(cell)]
    if re.fullmatch(r"[\w/]+\.(png|jpg|txt|md)", cell):
        return cell.replace(".", f"_{copy}.")
    if cell.endswith("?"):
        return f"{cell} ({copy})"
    return f"{float(cell) + copy % 7:g}" if re.fullmatch(r"\d+\.\d+", cell) else cell


def enlarged(name: str, text: str) -> str:
    """The rows of a table or of a list of objects, again and again."""
    rows = text.strip().splitlines()
    if name.endswith(".csv"):
        head, *rows = rows
        days = sorted({datetime.fromisoformat(found).timestamp() / 86400 for found in TIME.findall(text)})
        span = days[-1] - days[0] + min(np.diff(days)) if len(days) > 1 else 0.0
        copied = [[changed(cell, copy, span) for cell in row.split(",")] for copy in range(COPIES) for row in rows]
        return "\n".join([head, *map(",".join, copied)]) + "\n"
    objects = json.loads(text) if name.endswith(".json") else [json.loads(row) for row in rows]
    every = [
        {key: changed(cell, copy, 0.0) if isinstance(cell, str) else cell for key, cell in row.items()}
        for copy in range(COPIES)
        for row in objects
    ]
    return json.dumps(every) if name.endswith(".json") else "\n".join(map(json.dumps, every))


def write_file(path: Path, generator: np.random.Generator) -> None:
    """An image of noise, or a text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".png", ".jpg"):
        Image.fromarray(generator.integers(0, 256, (160, 160, 3), np.uint8)).save(path)
    else:
        source = Path(np.__file__).parent / "_core" / "numeric.py"
        path.write_text(f"{path.name}\n" + source.read_text(encoding="utf-8"), encoding="utf-8")


def write_data(folder: Path) -> None:
    """Write the files of the page into `folder`."""
    generator = np.random.default_rng(0)
    for name, text in named_files().items():
        if not text:
            for copy in range(COPIES // 6):
                write_file(folder / changed(name, copy, 0.0), generator)
            continue
        (folder / name).write_text(enlarged(name, text), encoding="utf-8")
        for file in set(re.findall(r"[\w/]+\.(?:png|jpg)", enlarged(name, text))):
            if not (folder / file).exists():
                write_file(folder / file, generator)


@pytest.mark.skipif(not (ROOT / "DATA.md").exists(), reason="the page was removed")
def test_every_command_trains_on_the_files_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    copy_of_project(folder)
    write_data(folder)
    commands = [line for text in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in text.splitlines()]
    small = [word for word in fitting(SMALL) if word.startswith("model.")]
    lines = [[*shlex.split(line)[1:], *SHORT, *small, "callbacks=[default]"] for line in commands]
    words = [sys.executable, "-c", DRIVER]
    done = subprocess.run(words, input=json.dumps(lines), cwd=folder, capture_output=True, text=True)
    statuses = re.findall(r"^STATUS (\d+) (.*)$", done.stdout, re.MULTILINE)
    assert len(statuses) == len(commands), done.stdout + done.stderr
    assert [command for status, command in statuses if status != "0"] == [], done.stdout + done.stderr
