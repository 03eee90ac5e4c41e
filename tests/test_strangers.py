"""Untrusted run folders: no command that reads one runs its code, or writes outside the folders that it may write to.

make strangers CASES=5000 [SEED=7]
"""

import contextlib
import copy
import importlib
import importlib.util
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
import yaml
from conftest import ROOT
from cookiecutter.main import cookiecutter
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

CASES = int(os.environ.get("STRANGER_CASES", "500"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1, 10**6)
SECONDS = 120  # a case takes 0.1 to 5 s
SLOW = "image_generation"  # trains a judge in each case that works: drawn less often

pytestmark = pytest.mark.long

# For each starter: overrides that make its model and its data small.
STARTERS = {
    "tabular": ("model.network.width=8", "model.network.blocks=1"),
    "language_modeling": (
        "model.network.width=16", "model.network.layers=1", "datamodule.vocab_size=300", "datamodule.context=8",
        "++datamodule.max_new_tokens=3",
    ),
    "image_classification": ("model.network.width=8", "model.network.stages=1"),
    "image_generation": ("model.network.width=8", "model.sampling_steps=2", "datamodule.samples_per_class=2"),
    "super_resolution": ("model.network.width=8", "model.network.blocks=1", "datamodule.patch=24"),
    "forecasting": ("model.network.width=8", "model.network.depth=1", "datamodule.context=48", "datamodule.horizon=4"),
}  # fmt: skip
SHORT = (
    "trainer.max_epochs=1", "++trainer.limit_train_batches=2", "++trainer.limit_val_batches=1",
    "++trainer.limit_test_batches=1", "trainer.accelerator=cpu", "++trainer.enable_progress_bar=false",
    "++trainer.enable_model_summary=false", "callbacks=[default]",
)  # fmt: skip
COMMANDS = ("evaluate", "predict", "load_run", "init_from", "rerun", "resume")
# The run whose folder each command may write to.
HOME_OF = {"evaluate": "theirs", "predict": "theirs", "load_run": "", "init_from": "new", "rerun": "new"}


class Watch:
    """Record what Python is about to do while a case runs: calls of code, and writes outside some folders.

    Compiled code that writes without Python's open is found by comparing the files themselves.
    """

    CALLS: ClassVar = (
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "pickle.find_class",
        "socket.connect",
    )
    PATHS: ClassVar = {
        "os.remove": (0,), "os.rename": (0, 1), "os.rmdir": (0,), "os.mkdir": (0,), "os.link": (1,), "os.symlink": (1,),
        "os.truncate": (0,), "os.chmod": (0,), "os.utime": (0,), "sqlite3.connect": (0,), "open": (0,),
    }  # fmt: skip
    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def __init__(self) -> None:
        self.events: list[str] | None = None
        self.allowed: tuple[str, ...] = ()
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Audit hook, called by Python at each event; it can't be removed again."""
        if self.events is None or (event not in self.PATHS and event not in self.CALLS):
            return
        if event in self.CALLS:
            if arguments[0] not in ("git", b"git"):  # for the commit in provenance.json
                self.events.append(f"{event} {arguments[:2]}"[:300])
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & self.WRITING):
            return
        for number in self.PATHS[event]:
            path = arguments[number]
            if isinstance(path, str | bytes | os.PathLike):
                whole = os.path.realpath(os.path.abspath(os.fsdecode(path)))
                if not f"{whole}/".startswith(self.allowed):
                    self.events.append(f"{event} {whole}")

    @contextlib.contextmanager
    def on(self, *folders: Path) -> Iterator[list[str]]:
        """Collect the events outside `folders`."""
        self.allowed = (*(f"{os.path.realpath(folder)}/" for folder in folders), "/dev/null/")
        self.events = events = []
        try:
            yield events
        finally:
            self.events = None


def files_of(root: Path, *without: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of each file and folder below `root`, leaving out the folders `without`."""
    found: dict[str, tuple[int, int]] = {}
    waiting = [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if Path(entry.path) in without:
                    continue
                there = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    found[entry.path] = (0, 0)
                else:
                    found[entry.path] = (there.st_size, there.st_mtime_ns)
    return found


def starter_of(folder: Path) -> Any:
    """Import what the tests of a rendered project know about its starter."""
    spec = importlib.util.spec_from_file_location(folder.name, folder / "tests" / "starter.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.append(str(folder / "tests"))  # two starters share a module beside it
    spec.loader.exec_module(module)
    return module


class Project:
    """A project with a run of its own, `other`, and a received one, `theirs`; runs commands in this process."""

    def __init__(self, starter: str, out: Path, user_config: Path) -> None:
        answers = {"starter": starter, "project_name": f"Strange {starter}"}
        self.folder = Path(cookiecutter(
            str(ROOT), no_input=True, extra_context=answers, output_dir=str(out), config_file=str(user_config)
        ))  # fmt: skip
        sys.path.insert(0, str(self.folder))
        self.package = f"strange_{starter}"
        self.command, self.use, self.train = (
            importlib.import_module(f"{self.package}.{name}")
            for name in ("engine.cli.command", "engine.training.inference", "engine.training.train")
        )
        self.refused = importlib.import_module(f"{self.package}.engine.errors").RefusedError
        self.runs, self.kept = self.folder / "runs", out / f"{starter}_kept"
        words = (*self._write_data(starter), *STARTERS[starter], *SHORT)
        self.configs = {
            "train": self.composed("train", "name=theirs", *words),
            "evaluate": self.composed("evaluate", "run=runs/theirs"),
            "predict": self.composed("predict", "run=runs/theirs", f"input={self.input}"),
            "init_from": self.composed("train", "init_from=runs/theirs", "name=new", *words),
            "rerun": self.composed("train", "rerun=runs/theirs", "name=new"),
        }
        # As if stopped after the first of two epochs.
        self.configs["resume"] = self.composed("train", "name=theirs", *words, "trainer.max_epochs=2")
        status, said = self.outcome("train")
        assert status == 0, said
        shutil.copytree(self.runs / "theirs", self.kept)
        saved = (self.kept / "config.yaml").read_text()
        (self.kept / "config.yaml").write_text(saved.replace("max_epochs: 1", "max_epochs: 2"))
        shutil.copytree(self.kept, self.runs / "other")
        checkpoint = torch.load(self.kept / "checkpoints" / "best.ckpt", weights_only=True)
        del checkpoint["state_dict"]
        contents = {
            "hyper_parameters": checkpoint["hyper_parameters"],
            "statistics": checkpoint["hyper_parameters"].get("statistics"),
            "checkpoint": checkpoint,
            **{name: yaml.safe_load((self.kept / name).read_text()) for name in ("config.yaml", "provenance.json")},
        }
        self.spots = {place: list(spots(content)) for place, content in contents.items()}

    def _write_data(self, starter: str) -> tuple[str, str]:
        """Write data and `self.input`; return the overrides that name the data."""
        rng = random.Random(0)
        if starter == "tabular":
            path = self.folder / "mine.csv"
            rows = [(rng.random(), rng.choice("abc"), rng.random()) for _ in range(60)]
            path.write_text("x,kind,y\n" + "".join(f"{x},{kind},{2 * x + y}\n" for x, kind, y in rows))
            self.input, datamodule = path.name, "table"
        elif starter == "language_modeling":
            path = self.folder / "mine.txt"
            path.write_text("\n".join(" ".join(rng.choices(["one", "two", "three", "four"], k=9)) for _ in range(300)))
            self.input, datamodule = "one", "text"
        else:
            help = starter_of(self.folder)
            path, datamodule = self.folder / help.OWN_NAME, help.OWN_DATAMODULE
            help.write_own_data(path)
            self.input = "all" if starter == "image_generation" else help.write_inputs(self.folder)
        return f"datamodule={datamodule}", f"datamodule.root={path}"

    def composed(self, name: str, *words: str) -> Any:
        with initialize_config_dir(str(self.folder / "configs"), version_base="1.3"):
            return compose(name, list(words), return_hydra_config=True)

    def outcome(self, name: str) -> tuple[int, str]:
        """Return the exit status and the output."""
        said, status, before = io.StringIO(), 0, Path.cwd()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            os.chdir(self.folder)
            try:
                self._do(name)
            except SystemExit as stop:
                status = int(stop.code or 0)
            except self.refused as error:  # raised by load_run
                print(error)
                status = 2
            except Exception:
                traceback.print_exc()
                status = 1
            finally:
                os.chdir(before)
                self.train.end_log_file()  # else it logs the warnings of the next case
        return status, said.getvalue()

    def _do(self, name: str) -> None:
        if name == "load_run":
            self.use.load_run("runs/theirs")
            return
        cfg = copy.deepcopy(self.configs[name])
        HydraConfig.instance().set_config(self.configs[name])
        with open_dict(cfg):
            del cfg["hydra"]
        task = {"evaluate": self.use.evaluate, "predict": self.use.predict}.get(name, self.train.train)
        self.command.CommandLine(task, self.folder / "train.py").work(cfg)

    def receive(self) -> Path:
        """Return a fresh copy of the received run folder, not yet changed."""
        for name in ("theirs", "new"):
            shutil.rmtree(self.runs / name, ignore_errors=True)
        (self.runs / "new").mkdir()  # so that the check for write access uses it, not runs/
        return Path(shutil.copytree(self.kept, self.runs / "theirs"))


class Stranger(NamedTuple):
    """A command, and a change of the run folder that it is given: `value` at `path` of the content `place`."""

    starter: str
    command: str
    place: str
    path: tuple[Any, ...]
    value: Any
    shape: str


def payloads(package: str, outside: Path, theirs: str) -> tuple[list[Any], ...]:
    """Return nodes (any, Lightning's, the project's) and texts that would run code or write if built or resolved."""
    mark, other = str(outside / "mark"), f"{theirs}/../other"
    metrics = {"rows": [{"step": 1, "val/loss": 1.0}], "path": f"{mark}.png"}
    nodes: dict[str, dict[str, Any]] = {
        "torch.load": {"f": f"{theirs}/payload.pkl", "weights_only": False},
        "torch.serialization.load": {"f": f"{theirs}/payload.pkl", "weights_only": False},
        "pickle.load": {"file": {"_target_": "builtins.open", "file": f"{theirs}/payload.pkl", "mode": "rb"}},
        "os.system": {"command": f"touch {mark}"},
        "os.remove": {"path": f"{other}/metrics.csv"},
        "os.mkdir": {"path": mark},
        "shutil.rmtree": {"path": other},
        "subprocess.run": {"args": ["touch", mark]},
        "builtins.open": {"file": mark, "mode": "w"},
        "builtins.eval": {"_args_": [f"open({mark!r}, 'w')"]},
        "pathlib.Path.touch": {"self": {"_target_": "pathlib.Path", "_args_": [mark]}},
        "hydra.utils.instantiate": {"config": {"_target_": "os.system", "command": f"touch {mark}"}},
        "hydra.utils.call": {"config": {"_target_": "os.system", "command": f"touch {mark}"}},
        "torch.save": {"obj": 1, "f": mark},
        "torch.hub.load": {"repo_or_dir": str(outside), "model": "x", "source": "local"},
        "torch.utils.data.datapipes.iter.FileOpener": {"datapipe": [mark], "mode": "w"},
        "numpy.save": {"file": mark, "arr": [1]},
        "pytorch_lightning.loggers.csv_logs.ExperimentWriter": {"log_dir": other},
        "pytorch_lightning.loggers.CSVLogger": {"save_dir": mark},
        "pytorch_lightning.loggers.TensorBoardLogger": {"save_dir": mark},
        "pytorch_lightning.loggers.MLFlowLogger": {"tracking_uri": f"sqlite:///{mark}.db"},
        "pytorch_lightning.loggers.WandbLogger": {"save_dir": mark, "offline": True},
        "pytorch_lightning.profilers.SimpleProfiler": {"dirpath": str(outside), "filename": "mark"},
        "pytorch_lightning.profilers.AdvancedProfiler": {"dirpath": other, "filename": "mark"},
        "pytorch_lightning.profilers.PyTorchProfiler": {"dirpath": str(outside), "filename": "mark"},
        "pytorch_lightning.callbacks.OnExceptionCheckpoint": {"dirpath": str(outside)},
        "pytorch_lightning.callbacks.ModelCheckpoint": {"dirpath": other, "filename": "mark"},
        "pytorch_lightning.callbacks.LambdaCallback": {
            "setup": {"_target_": "os.system", "command": f"touch {mark}", "_partial_": True}
        },
        "pytorch_lightning.strategies.DDPStrategy": {"process_group_backend": "gloo"},
        "lightning_fabric.plugins.io.TorchCheckpointIO": {},
        "torch.nn.Sequential": {"_args_": [{"_target_": "os.system", "command": f"touch {mark}"}]},
        f"{package}.engine.files.write_text": {"path": mark, "text": "x"},
        f"{package}.engine.runs.metrics.draw_curves": metrics,
        f"{package}.engine.training.metrics_log.MetricsLog": {"path": mark},
        f"{package}.engine.config.build.build": {"node": {"_target_": "os.system", "command": f"touch {mark}"}},
        f"{package}.engine.config.build.import_module": {"name": "antigravity"},
        f"{package}.callbacks.report.draw_loss": {"points": [[1.0, 2.0]], "path": f"{mark}.png"},
        f"{package}.callbacks.report.draw_samples": {"samples": [], "prompt": "", "path": f"{mark}.png"},
        f"{package}.datamodules.tables.write_table": {
            "frame": {"_target_": "pandas.DataFrame"}, "path": f"{mark}.csv",
        },
        f"{package}.datamodules.token_files.cached": {"name": "mark", "write": {"_target_": "os.system"}},
    }  # fmt: skip
    built = [{"_target_": target, **arguments} for target, arguments in nodes.items()]
    call = f"{{_target_: os.system, command: 'touch {mark}'}}"
    texts = [
        f"${{oc.create:{call}}}", "${oc.env:HOME}", f"${{oc.decode:'{mark}'}}", "${p}${q}", "${${p}}",
        "${hydra:run.dir}", str(outside / ".profile"), f"{other}/metrics.csv", "../other/metrics.csv",
        "${oc.select:trainer}", "${oc.deprecated:seed}", "\\${oc.env:HOME}", "$", "${now:%Y}", "${name",
        "${name}${name}",
    ]  # fmt: skip
    lightning, own = ([node for node in built if node["_target_"].startswith(name)] for name in ("pytorch_l", package))
    return [node for node in built if node not in lightning + own], lightning, own, texts


KEYS = ("network", "optimizer", "x", "_args_", "_target_", "profiler", "plugins", "strategy", "0", "${x}", "a.b", "")
PLACES = ("config.yaml", "hyper_parameters", "statistics", "checkpoint", "metrics.csv", "provenance.json", "a link")
NEW = "\0"  # a key that does not exist
# Parts of a run that are built, now or in the past: half of the changes are there.
BUILT: dict[str, list[tuple[str, ...]]] = {
    "config.yaml": [
        ("callbacks", NEW), ("callbacks", NEW), ("callbacks", NEW), ("trainer", "profiler"), ("trainer", "logger"),
        ("trainer", "plugins"), ("trainer", "callbacks"), ("trainer", "strategy"), ("datamodule", NEW),
        ("datamodule", "batch_size"), ("datamodule", "_target_"), ("model", "_target_"), ("model", "network", NEW),
        ("model", "network", "_target_"), ("logger", NEW),
    ],
    "hyper_parameters": [("network", NEW), ("network", NEW), ("network", "width"), ("network", "_target_")],
}  # fmt: skip


def wrapped(rng: random.Random, value: Any, containers: tuple[str, ...]) -> Any:
    """Return the value in up to three containers; most often in none, unless a tuple is among them."""
    for _ in range(rng.choice((0, 1, 1, 2, 3) if "tuple" in containers else (0, 0, 0, 0, 1, 2, 3))):
        kind = rng.choice(containers)
        if kind in ("dict", "ordered", "counter"):
            value = {"dict": dict, "ordered": OrderedDict, "counter": Counter}[kind]({rng.choice(KEYS): value})
        elif kind == "node":
            value = {"_target_": rng.choice(["torch.nn.Identity", "torch.nn.Sequential"]), "x": value}
        else:
            value = [value] if kind == "list" else (value,)
    return value


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each part of a tree of dicts and lists, and of a new key in each dict."""
    if isinstance(value, dict):
        yield (*path, NEW)
        for name, part in value.items():
            yield (*path, name)
            yield from spots(part, (*path, name))
    elif isinstance(value, list) and len(value) < 50:
        for number, part in enumerate(value):
            yield (*path, number)
            yield from spots(part, (*path, number))


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for name in path[:-1]:
        if isinstance(value, dict) and not isinstance(value.get(name), dict | list):
            value[name] = {}
        value = value[name]
    value[path[-1]] = new


def stranger_of(rng: random.Random, projects: dict[str, Project], outside: Path) -> Stranger:
    """Draw a stranger: a function of the state of `rng`."""
    starter = rng.choice([starter for starter in sorted(projects) for _ in range(1 if starter == SLOW else 5)])
    project = projects[starter]
    places = [place for place in (*PLACES[:2] * 4, *PLACES[2:]) if project.spots.get(place) != []]
    command, place = rng.choice(COMMANDS), rng.choice(places)
    *nodes, texts = payloads(project.package, outside, str(project.runs / "theirs"))
    containers: tuple[str, ...] = ("dict", "list", "node")
    if place in ("hyper_parameters", "statistics", "checkpoint"):
        containers = ("tuple", "tuple", *containers, "ordered", "counter")
    built = place in BUILT and rng.random() < 2 / 3
    path = rng.choice(BUILT[place] if built else project.spots.get(place, [()]))
    if path and path[-1] == NEW:
        path = (*path[:-1], rng.choice(KEYS))
    if place == "a link":
        path = (rng.choice(("predictions", "evaluation_best.json.tmp", "train.log", "metrics.csv", "lock.json")),)
    shape = rng.choice(("", "", "", "", "", "two keys", "tag", "anchor", "an object"))
    value = wrapped(rng, copy.deepcopy(rng.choice(rng.choice((*nodes, texts)))), containers)
    return Stranger(starter, command, place, path, value, shape)


def known(project: Project, starter: str, outside: Path) -> Iterator[Stranger]:
    """Past holes, each of which ran code of a run folder, removed a file of another run or ended in a traceback."""
    theirs = project.runs / "theirs"
    load = {"_target_": "torch.load", "f": str(theirs / "payload.pkl"), "weights_only": False}
    removed = {
        "_target_": "pytorch_lightning.loggers.csv_logs.ExperimentWriter",
        "log_dir": str(project.runs / "other"),
    }
    drawn = {"_target_": f"{project.package}.engine.runs.metrics.draw_curves", "path": f"{outside}/mark.png"}
    drawn["rows"] = [{"step": 1, "val/loss": 1.0}]  # type: ignore[assignment]
    resolver = f"${{oc.create:{{_target_: os.mkdir, path: '{outside}/mark'}}}}"
    for command in ("evaluate", "load_run", "rerun"):
        yield Stranger(starter, command, "hyper_parameters", ("network", "dropout"), (load,), "")
        yield Stranger(starter, command, "hyper_parameters", ("network", "dropout"), resolver, "")
        yield Stranger(starter, command, "config.yaml", ("trainer", "profiler"), "", "two keys")
        for node in (removed, drawn):
            yield Stranger(starter, command, "config.yaml", ("callbacks", "x"), node, "")
            yield Stranger(starter, command, "config.yaml", ("datamodule", "x"), node, "")
    checkpoint = torch.load(project.receive() / "checkpoints" / "last.ckpt", weights_only=True)
    for key in (key for key in checkpoint["callbacks"] if key.startswith("ModelCheckpoint")):
        for value in ({}, load, "", f"{outside}/x.ckpt", 3):
            yield Stranger(starter, "resume", "checkpoint", ("callbacks", key, "kth_best_model_path"), value, "")
    for command in ("evaluate", "predict", "load_run"):
        if starter == "tabular":
            yield Stranger(starter, command, "statistics", ("numbers", "x", "high"), {"x": 1}, "")
            yield Stranger(starter, command, "hyper_parameters", ("numbers",), ["kind"], "")
        for names in (["0"], [str(number) for number in range(99)]):
            yield Stranger(starter, command, "hyper_parameters", ("class_names",), names, "")


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def send(stranger: Stranger, project: Project, outside: Path) -> None:
    """Write the stranger's folder to runs/theirs."""
    folder, (_, command, place, path, value, shape) = project.receive(), stranger
    if command == "resume":
        (folder / "metrics.json").unlink()
    torch.save(Payload(outside / "mark"), folder / "payload.pkl")
    if place == "config.yaml":
        content = yaml.safe_load((folder / place).read_text())
        put(content, path, "${p}${q}" if shape == "two keys" else value)
        if shape == "two keys":
            content |= {"p": "$", "q": f"{{oc.create:{{_target_: os.mkdir, path: '{outside}/mark'}}}}"}
        text = yaml.safe_dump(content, sort_keys=False)
        text += "zz: !!python/object/apply:os.mkdir [mark]\n" if shape == "tag" else ""
        (folder / place).write_text(f"zy: &a {{_target_: os.getcwd}}\n{text}zz: *a\n" if shape == "anchor" else text)
    elif place == "provenance.json":
        content = yaml.safe_load((folder / place).read_text())
        put(content, path, value)
        (folder / place).write_text(importlib.import_module("json").dumps(content))
    elif place == "metrics.csv":
        text = (folder / place).read_text().splitlines()
        cell = str(value).replace("\n", " ")
        rows = {"": [*text, cell], "two keys": [f"{text[0]},{cell}", *(f"{row},1" for row in text[1:])]}
        (folder / place).write_text("\n".join(rows.get(shape, [cell, *text])) + "\n")
    elif place == "a link":
        target = folder / path[0]
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        target.symlink_to(outside / "mark")
    else:
        for name in ("best", "last"):
            file = folder / "checkpoints" / f"{name}.ckpt"
            content = torch.load(file, weights_only=True)
            inner = content if place == "checkpoint" else content["hyper_parameters"]
            with contextlib.suppress(KeyError, IndexError):  # the two may hold different keys
                put(inner["statistics"] if place == "statistics" else inner, path, value)
            if shape == "an object":
                put(inner, ("p",), Payload(outside / "mark"))
            torch.save(content, file)


def test_nothing_that_a_stranger_sends_runs_or_writes_elsewhere(
    tmp_path: Path, user_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"SEED={SEED}")
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    for folder in (home, temporary):
        folder.mkdir()
    (home / ".profile").write_text("mine\n")
    for name, folder in {"HOME": home, "TMPDIR": temporary, "XDG_CACHE_HOME": temporary}.items():
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # Tests where plots are written, not how they look: drawing takes longer than all the rest.
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **__: Path(path).write_bytes(b""))
    monkeypatch.setattr("matplotlib.figure.Figure.draw_without_rendering", lambda _: None)
    torch.set_num_threads(1)
    projects = {starter: Project(starter, tmp_path, user_config) for starter in STARTERS}
    watch, counts, wrong = Watch(), Counter(), []

    def late(*_: object) -> None:
        raise TimeoutError(f"it takes more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)

    def found(stranger: Stranger) -> str:
        """Return what a command does wrong with the run folder."""
        project = projects[stranger.starter]
        send(stranger, project, home)
        name = HOME_OF.get(stranger.command, "theirs")
        allowed = (*([project.runs / name] if name else []), temporary)
        before = files_of(tmp_path, *allowed)
        signal.alarm(SECONDS)
        with watch.on(*allowed) as events:
            status, said = project.outcome(stranger.command)
        signal.alarm(0)
        after = files_of(tmp_path, *allowed)
        changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
        counts[{0: "done", 2: "refused"}.get(status, "failed")] += 1
        if events or changed:
            return f"{events[:3]} {changed[:3]}"
        if status not in (0, 2) or "Traceback" in said:
            return f"status {status}: {said[-1500:]}"
        return ""

    strangers = [each for starter, project in projects.items() for each in known(project, starter, home)]
    strangers += [stranger_of(random.Random(f"{SEED} {number}"), projects, home) for number in range(CASES)]
    for stranger in strangers:
        if problem := found(stranger):
            wrong.append(f"{stranger}\n    {problem}")
            for path in (each for each in home.iterdir() if each.name != ".profile"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            (home / ".profile").write_text("mine\n")
            project = projects[stranger.starter]
            shutil.rmtree(project.runs / "other", ignore_errors=True)
            shutil.copytree(project.kept, project.runs / "other")
    print(counts)
    assert not wrong, f"{len(wrong)} of {len(strangers)}, SEED={SEED}:\n" + "\n".join(wrong[:20])
    assert min(counts["done"], counts["refused"]) > CASES // 20, f"the cases are not of both kinds: {counts}"
