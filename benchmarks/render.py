"""Time to render the template, compared with a template of a single file and with others given by path.

Also compared with a template that only copies the files of the default project, with no hook and no other question.
Its time beyond that of the single file is the cost of files and folders.

python benchmarks/render.py [--repeats 15] [name=path/of/a/template ...]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1.6
MEMORY = Path("/dev/shm")  # a file system in memory, on Linux


def single_file(folder: Path) -> Path:
    """Write the smallest template: one question that matters, one file, no hook."""
    rendered = folder / "{{cookiecutter.project_slug}}"
    rendered.mkdir(parents=True)
    (folder / "cookiecutter.json").write_text('{"project_name": "My Project", "project_slug": "my-project"}\n')
    (rendered / "README.md").write_text("# {{ cookiecutter.project_name }}\n")
    return folder


def same_files(folder: Path, config: Path) -> Path:
    """Write Kindling's default project as a template that only copies it."""
    seconds(ROOT, folder / "rendered", config)
    template = single_file(folder / "template")
    shutil.rmtree(template / "{{cookiecutter.project_slug}}")
    (folder / "rendered" / "my-project").rename(template / "{{cookiecutter.project_slug}}")
    answers = {"project_name": "My Project", "project_slug": "my-project", "_copy_without_render": ["*"]}
    (template / "cookiecutter.json").write_text(json.dumps(answers))
    return template


def seconds(template: Path, out: Path, config: Path) -> tuple[float, int]:
    """Return the seconds of one process from start to end, and the number of files that it left in `out`."""
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--config-file", config, "-o", out, template]
    start = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, sum(path.is_file() for path in out.rglob("*"))


def user_config(folder: str) -> Path:
    """Write a configuration of cookiecutter that keeps its files in `folder`."""
    config = Path(folder, "config.yaml")
    config.write_text(f"replay_dir: {folder}/replay\ncookiecutters_dir: {folder}/templates\n")
    return config


def measured(templates: dict[str, Path], where: Path | None, repeats: int) -> dict[str, tuple[float, int]]:
    """Return the median time of each template, measured in turns, and its number of files."""
    times: dict[str, list[float]] = {name: [] for name in templates}
    files: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=where) as folder:
        config = user_config(folder)
        for number in range(repeats + 1):
            for name, template in templates.items():
                took, files[name] = seconds(template, Path(folder, f"{name}_{number}".replace(" ", "_")), config)
                times[name] += [took] if number else []  # the first one fills the caches
    return {name: (statistics.median(times[name]), files[name]) for name in templates}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("templates", nargs="*", help="name=path of other templates")
    given = parser.parse_args()
    others = {name: Path(path).resolve() for name, _, path in (word.partition("=") for word in given.templates)}
    if missing := [str(path) for path in others.values() if not (path / "cookiecutter.json").is_file()]:
        parser.error(f"no cookiecutter.json in {', '.join(missing)}: give name=path of a checkout")
    lines = ["| template | files | in memory | on disk |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        templates = {
            "a single file": single_file(Path(folder, "single")),
            "the same files, copied": same_files(Path(folder, "same"), user_config(folder)),
            "Kindling": ROOT,
            **others,
        }
        disk = measured(templates, None, given.repeats)
        memory = measured(templates, MEMORY, given.repeats) if MEMORY.is_dir() else disk
    for name in templates:
        shown = [f"{times[name][0] / times['a single file'][0]:.2f}" for times in (memory, disk)]
        lines.append(f"| {name} | {disk[name][1]} | {' | '.join(shown)} |")
    print("\n".join(lines))
    return int(memory["Kindling"][0] > LIMIT * memory["a single file"][0])


if __name__ == "__main__":
    sys.exit(main())
