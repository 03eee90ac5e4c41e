"""The report page: one HTML file that holds its data, plots and charts, and needs no network.

A run folder may come from elsewhere: its text enters the page as JSON alone, its plots are decoded and encoded again.
"""

import base64
import hashlib
import io
import json
import math
import re
import shlex
import stat
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import RefusedError
from ..files import check_writable, now, write_text
from ..plain import read_json
from ..runs.folder import RunFolder, check_folder
from ..runs.folds import folds_of
from ..runs.provenance import read_provenance
from .details import train_words
from .differences import nameless_config
from .seeds import comparisons, groups_of, labelled
from .summaries import Summary, duration, numbers, text
from .table import progress, written

MAX_RUNS = 100  # in a page
MAX_PAGE = 6_000_000  # bytes; plots take what the rest leaves
MAX_DATA = 3_000_000  # bytes of all runs without their plots
MAX_POINTS = 60_000  # of all curves
MAX_PLOTS = 20  # of a run
MAX_PNG = 2**24  # bytes
MAX_PIXELS = 25_000_000  # of a PNG
SIDES = (1400, 700, 350)  # pixels of a plot in the page, at most: the first that leaves room for the others


def write_report(runs: list[Summary], output: Path) -> None:
    """Write the page, with the first MAX_RUNS runs. Raises RefusedError if `output` can't be written."""
    check_writable("--output", output.parent)
    runs, left_out = runs[:MAX_RUNS], len(runs[MAX_RUNS:])
    entries = [_entry(run, len(runs)) for run in runs]
    groups = groups_of([run for run, entry in zip(runs, entries, strict=True) if entry["state"] != "damaged"])
    names = [{"name": f"{letter}: {group.label}", "runs": [runs.index(run) for run in group.runs]}
             for letter, group in labelled(groups)]  # fmt: skip
    tests = [{"metric": each.metric, "text": str(each)} for each in comparisons(groups)]
    content = {"project": Path.cwd().name, "written": now(), "left_out": left_out, "runs": entries, "groups": names,
               "comparisons": tests}  # fmt: skip
    room = MAX_PAGE - len(_page(content))
    finished = [entry for entry in entries if entry["state"] == "finished"]
    for left, entry in zip(range(len(finished), 0, -1), finished, strict=True):
        room -= _add_plots(entry, RunFolder(Path(entry["path"])), room // left)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, _page(content))
    except OSError as error:
        raise RefusedError(f"--output {output.as_posix()}: can't be written: {error.strerror}") from error


def _page(content: dict[str, Any]) -> str:
    """Return the template with the chart library, its licence, the hashes of its scripts, and the data."""
    folder = Path(__file__).parent
    page = (folder / "page.html").read_text(encoding="utf-8")
    for part in ("uplot/uPlot.min.css", "uplot/LICENSE", "uplot/uPlot.iife.min.js"):
        page = page.replace(f"/* {part} */", (folder / part).read_text(encoding="utf-8"))
    digests = [hashlib.sha256(script.encode()).digest() for script in re.findall(r"<script>(.*?)</script>", page, re.S)]
    page = page.replace("HASHES", " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests))
    return page.replace("/* data */", _json(content))


def _json(content: Any) -> str:
    """Return JSON in ASCII that can't end the element it stands in."""
    line = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return line.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _entry(run: Summary, runs: int) -> dict[str, Any]:
    """Return what the page shows of a run, one of `runs`, except its plots."""
    folder, notes = RunFolder(Path(run.path)), []

    def read(reader: Callable[..., Any], *given: Any) -> Any:
        try:
            return reader(*given)
        except (RefusedError, OSError, RecursionError) as error:
            notes.append(text(error))
            return {}

    read(check_folder, folder.path)
    run = Summary(run.path, error=notes.pop()) if notes else run
    time = "" if run.seconds is None else duration(run.seconds)
    entry = asdict(run) | {"name": run.name, "progress": progress(run), "time": time, "notes": notes, "plots": {}}
    if run.state == "damaged":
        return entry
    parts = folds_of(folder) or [folder]
    origin = read(read_provenance, parts[0])
    more = {
        "commands": _commands(run, origin.get("overrides")),
        "origin": read(_flat, origin),
        "config": read(_flat, read(nameless_config, parts[0])),
        "curves": [read(_curves, part, MAX_POINTS // runs // len(parts)) for part in parts],
        "folds_table": read(_folds_table, folder),
    }
    if len(_json(entry | more)) > MAX_DATA // runs:
        return entry | {"test": {}, "spread": {}, "notes": ["too large for this page: only its summary is shown"]}
    return entry | more


def _flat(values: dict[str, Any]) -> dict[str, str]:
    pairs = [(key, value if isinstance(value, dict) else {"": value}) for key, value in values.items()]
    return {f"{key} {part}".strip(): written(value) for key, parts in pairs for part, value in parts.items()}


def _commands(run: Summary, overrides: Any) -> list[str]:
    """Return the command that trained the run, and the one that repeats or resumes it, safe to paste into a shell."""
    words = [str(word) for word in overrides] if isinstance(overrides, list) else []
    named = train_words(run, overrides)
    again = [f"rerun={run.path}"] if run.state == "finished" else named
    commands = [words, named[1:] if run.state == "finished" and run.folds else again]
    return [shlex.join(["python", "train.py", *each]) for each in commands]


def _curves(run: RunFolder, points: int) -> dict[str, Any]:
    """Return {metric: [steps, epochs, minutes, values]}: every k-th value, so that there are about `points` in all."""
    from ..runs.metrics import read_metrics, read_times

    rows, seconds = read_metrics(run.metrics_csv), read_times(run.times)
    names = dict.fromkeys(name for row in rows for name in row if name.count("/") == 1 and not name.startswith("test/"))
    curves = {}
    for name in names:
        found = [row for row in rows if name in row]
        kept = [*found[: -1 : math.ceil(len(found) * len(names) / max(1, points))], found[-1]]
        values = [float(f"{row[name]:.6g}") if math.isfinite(row[name]) else None for row in kept]
        minutes = [round(seconds[row["step"]] / 60, 3) if row["step"] in seconds else None for row in kept]
        curves[name] = [[row["step"] for row in kept], [row["epoch"] for row in kept], minutes, values]
    return curves


def _folds_table(run: RunFolder) -> dict[str, Any]:
    """Return {metric: {fold_1: value, …, mean: …, std: …}} of a set of folds that has finished, else nothing."""
    content = read_json(run.folds) if run.folds.is_file() else {}
    table = content.get("metrics") if isinstance(content, dict) else None
    return {name: numbers(values) for name, values in table.items()} if isinstance(table, dict) else {}


def _add_plots(entry: dict[str, Any], run: RunFolder, room: int) -> int:
    """Add the plots of a run to it, in at most `room` bytes, its learning curves last. Returns the bytes they take."""
    found = sorted(run.plots.glob("*.png"), key=lambda path: (path.name == "learning_curves.png", path.name))
    taken = 0
    for number, path in enumerate(found[:MAX_PLOTS]):
        try:
            url = _data_url(path, (room - taken) // (len(found[:MAX_PLOTS]) - number) - len(_json(path.name)) - 4)
        except (RefusedError, OSError) as error:
            entry["notes"].append(text(error))
            continue
        entry["plots"] |= {path.name: url} if url else {}
        taken = len(_json(entry["plots"]))
    if len(entry["plots"]) < len(found):
        entry["notes"].append(f"{len(entry['plots'])} of {len(found)} plots are in this page")
    return taken


def _data_url(path: Path, room: int) -> str:
    """Return a PNG, decoded and encoded again in 256 colours and `room` bytes, as a data URL; empty if none fits.

    Raises RefusedError if it is no PNG.
    """
    from PIL import Image

    info = path.stat()
    if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_PNG:
        raise RefusedError(f"{path.as_posix()}: is no file of at most {MAX_PNG / 2**20:.0f} MB")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels")
            plot = image.convert("RGB")
    except Exception as error:  # a crafted file can raise almost anything
        raise RefusedError(f"{path.as_posix()}: is no PNG to show: {error}") from error
    for side in SIDES:
        plot.thumbnail((side, side))
        file = io.BytesIO()
        plot.quantize(256, method=Image.Quantize.FASTOCTREE).save(file, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        if len(url) <= room:
            return url
    return ""
