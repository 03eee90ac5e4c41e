"""An untrusted checkpoint, run folder or input runs no code: it is refused in one line."""

import collections
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command
from killed import PACKAGE, STEP, At, train
from omegaconf import OmegaConf
from test_resume import QUICK

from my_project import load_run
from my_project.engine.config.build import build
from my_project.engine.errors import RefusedError
from my_project.engine.runs.checkpoint_files import AtomicCheckpointIO
from my_project.engine.runs.folder import RunFolder
from my_project.engine.runs.loading import load_checkpoint

RAN = "ran.txt"


class Payload:
    """Creates the file RAN when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {RAN}",)


@pytest.fixture(scope="module")
def folder(command: Command) -> Path:
    """The folder in which runs/ours has been trained, and runs/killed killed."""
    status, said = train(command.folder, "name=ours", *QUICK)
    assert status == 0, said
    assert train(command.folder, "name=killed", *QUICK, at=At(STEP, 3))[0] == -9
    return command.folder


@pytest.fixture
def theirs(folder: Path) -> Path:
    """An untrusted run folder."""
    path = folder / "runs" / "theirs"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder / "runs" / "ours", path)
    return path


def assert_refused(status: int, said: str, part: str, folder: Path) -> None:
    assert status == 2, said
    assert part in said
    assert len(said.strip().splitlines()) == 1, said
    assert not (folder / RAN).exists(), "its code ran"


def spoilt(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_give_no_numbers(
    value: float, theirs: Path, folder: Path, command: Command
) -> None:
    name = next(name for name, _ in load_run(folder / "runs" / "ours").model.named_parameters())

    def change(content: dict[str, Any]) -> None:
        content["state_dict"][name].fill_(value)

    spoilt(theirs / "checkpoints" / "best.ckpt", change)
    for script in ("evaluate.py", "predict.py"):
        words = ["input=said.txt"] if script == "predict.py" else []
        (folder / "said.txt").write_text("said", encoding="utf-8")
        assert_refused(*command(script, "run=runs/theirs", *words), f"{name} is not finite", folder)


NO_CHECKPOINT = "is not an intact checkpoint"
CHECKPOINTS = {
    "an object": (
        lambda path: spoilt(path, lambda content: content.update(payload=Payload())),
        "holds more than tensors and plain values",
    ),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(Payload())), NO_CHECKPOINT),
    "an old torch file": (
        lambda path: torch.save(Payload(), path, _use_new_zipfile_serialization=False),
        NO_CHECKPOINT,
    ),
}
INSTANTIATORS = {
    "an instantiator": {"_instantiator": "os.system"},
    "a class path": {"_instantiator": "pytorch_lightning.cli.instantiate_module", "_class_path": "os.system"},
    "a target": {"network": {"_target_": "os.system", "command": f"touch {RAN}"}},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_with_code_is_refused_wherever_it_is_loaded(
    kind: str, theirs: Path, folder: Path, command: Command
) -> None:
    best = theirs / "checkpoints" / "best.ckpt"
    spoil, part = CHECKPOINTS[kind]
    spoil(best)
    for words in (
        ("evaluate.py", "run=runs/theirs"),
        ("predict.py", "run=runs/theirs", "input=said.txt"),
        ("train.py", "init_from=runs/theirs", "name=tuned", *QUICK),
    ):
        assert_refused(*command(*words), part, folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.raises(RefusedError):
            load_run("runs/theirs")
    finally:
        os.chdir(before)
    for name in ("last", "previous"):
        shutil.copy(best, folder / "runs" / "killed" / "checkpoints" / f"{name}.ckpt")
    status, said = train(folder, "name=killed", *QUICK)
    assert_refused(status, said, "runs/killed" if kind == "an object" else "no intact checkpoint is left", folder)


@pytest.mark.parametrize("kind", INSTANTIATORS)
def test_hyper_parameters_that_name_code_are_refused(kind: str, theirs: Path, folder: Path, command: Command) -> None:
    best = theirs / "checkpoints" / "best.ckpt"
    spoilt(best, lambda content: content["hyper_parameters"].update(INSTANTIATORS[kind]))
    assert_refused(*command("evaluate.py", "run=runs/theirs"), "", folder)


CONFIGS: dict[str, tuple[str, Any, str]] = {
    "a target": ("model.network", {"_target_": "os.system", "command": f"touch {RAN}"}, "os.system: not allowed"),
    "a builtin": ("callbacks.x", {"_target_": "builtins.eval"}, "builtins.eval: not allowed"),
    "a loader": ("callbacks.x", {"_target_": "torch.load", "f": "best.ckpt"}, "torch.load: not allowed"),
    "the engine": ("callbacks.x", {"_target_": f"{PACKAGE}.engine.files.write_json"}, "not allowed"),
    "a resolver": ("trainer.max_epochs", "${oc.env:HOME}", "calls a resolver (${oc.env:HOME"),
    "a hidden resolver": ("monitor", "${${mode}.env:HOME}", "calls a resolver"),
    "a path out": ("trainer.profiler", {
        "_target_": "pytorch_lightning.profilers.SimpleProfiler", "dirpath": "../..", "filename": "x",
    }, "trainer.profiler.dirpath=../..: leads out of the run folder"),
    "a path in the project": ("trainer.profiler", {
        "_target_": "pytorch_lightning.profilers.SimpleProfiler", "dirpath": "configs", "filename": "x",
    }, "trainer.profiler.dirpath=configs: leads out of the run folder"),
    "an absolute path": ("callbacks.checkpoint.dirpath", "/root/.ssh", "leads out of the run folder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_that_names_code_or_leads_out_is_refused(
    kind: str, theirs: Path, folder: Path, command: Command
) -> None:
    key, value, part = CONFIGS[kind]
    cfg = OmegaConf.load(theirs / "config.yaml")
    OmegaConf.update(cfg, key, value, merge=False)
    OmegaConf.save(cfg, theirs / "config.yaml")
    assert_refused(*command("evaluate.py", "run=runs/theirs"), part, folder)
    assert_refused(*command("train.py", "rerun=runs/theirs", "name=again"), part, folder)
    assert not (folder / "runs" / "again").exists()


def test_yaml_that_makes_objects_is_refused(theirs: Path, folder: Path, command: Command) -> None:
    with (theirs / "config.yaml").open("a", encoding="utf-8") as file:
        file.write(f"x: !!python/object/apply:os.system ['touch {RAN}']\n")
    assert_refused(*command("evaluate.py", "run=runs/theirs"), "can't be read", folder)


@pytest.mark.parametrize("name", ["evaluation_best", "evaluation_best.json.tmp", "predictions", "wandb"])
def test_a_link_that_leads_out_of_the_run_folder_is_refused(
    name: str, theirs: Path, folder: Path, command: Command
) -> None:
    outside = folder / "outside"
    outside.mkdir(exist_ok=True)
    (theirs / name).symlink_to(outside / "x")
    for words in (("evaluate.py",), ("predict.py", "input=said.txt")):
        assert_refused(*command(*words, "run=runs/theirs"), "is a link that leads out of the run folder", folder)
    assert not any(outside.iterdir())


FAST = ("trainer.accelerator=cpu", "trainer.limit_test_batches=1", "callbacks=[default]")  # for evaluate.py
# Files that an attack may not change: one beside the runs, and those of another run.
VICTIMS = ("victim.txt", "runs/ours/metrics.csv", "runs/ours/config.yaml", "runs/ours/checkpoints/best.ckpt")
RUN = {"_target_": "torch.load", "f": "payload.pkl", "weights_only": False}
CREATE = "{oc.create:{_target_:torch.load,f:payload.pkl,weights_only:false}}"


@pytest.fixture
def attacked(theirs: Path, folder: Path) -> Iterator[Path]:
    """An untrusted run folder beside a pickle that it names; afterwards, no code has run and nothing else changed."""
    (folder / RAN).unlink(missing_ok=True)
    (folder / "payload.pkl").write_bytes(pickle.dumps(Payload()))
    (folder / "victim.txt").write_text("precious", encoding="utf-8")
    before = {name: (folder / name).read_bytes() for name in VICTIMS}
    there = {path for path in folder.rglob("*") if theirs not in path.parents}
    yield theirs
    for name in ("tuned", "again", "stopped"):
        shutil.rmtree(folder / "runs" / name, ignore_errors=True)
    assert not (folder / RAN).exists(), "its code ran"
    assert {name: (folder / name).read_bytes() for name in VICTIMS} == before
    written = {path for path in folder.rglob("*") if theirs not in path.parents} - there
    assert {path.name for path in written} <= {"said.txt"}


def outcomes(run: Path, command: Command) -> dict[str, tuple[int, str]]:
    """Return the status and output of each command that reads a run folder."""
    folder = command.folder
    said = {
        "evaluate": command("evaluate.py", "run=runs/theirs", *FAST),
        "predict": command("predict.py", "run=runs/theirs", "input=said.txt"),
        "init_from": command("train.py", "init_from=runs/theirs", "name=tuned", *QUICK, "trainer.max_steps=1"),
        "rerun": command("train.py", "rerun=runs/theirs", "name=again"),
    }
    shutil.copytree(run, folder / "runs" / "stopped", ignore=shutil.ignore_patterns("metrics.json"))
    shutil.copy(run / "checkpoints" / "best.ckpt", folder / "runs" / "stopped" / "checkpoints" / "last.ckpt")
    said["resume"] = command("train.py", "name=stopped", "resume=inexact", *QUICK, "trainer.max_epochs=3")
    return said


def set_in_config(run: Path, key: str, value: Any) -> None:
    """Set a key of config.yaml as plain YAML: OmegaConf would resolve or refuse some of the values."""
    content = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    *outer, last = key.split(".")
    node = content
    for name in outer:
        node[name] = node.get(name) or {}
        node = node[name]
    node[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def loaded(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(RefusedError) as refused:
        load_run(run.relative_to(folder))
    assert len(str(refused.value).splitlines()) == 1


def in_an_attribute(value: Any) -> Any:
    tensor = torch.zeros(1)
    vars(tensor)["node"] = value
    return tensor


HYPER_PARAMETERS: dict[str, Any] = {
    "a tuple": (RUN,),
    "a tuple in a list in a dict": {"a": [({"b": RUN},)]},
    "an ordered dict": collections.OrderedDict(RUN),
    "a counter": collections.Counter(RUN),
    "a set": {"${" + CREATE[1:]},
    "a shape beside it": {"a": torch.Size([1]), "b": RUN},
    "bytes": b"${oc.env:HOME}",
    "an interpolation": "$" + CREATE,
    "an interpolation in a list": [["$" + CREATE]],
    "an escaped one": "\\$" + CREATE,
    "one in a key": {"$" + CREATE: 1},
    "an attribute of a tensor": in_an_attribute(RUN),
    "a function": {"_target_": torch._utils._rebuild_tensor_v2},
    "a class": torch.nn.Parameter,
    "a target that is no text": {"_target_": ["torch.load"], "f": "payload.pkl"},
    "Hydra's arguments": {"_target_": "torch.nn.Identity", "_args_": [RUN]},
    "a part of a part": {"_target_": "torch.nn.Sequential", "_partial_": True, "x": RUN},
    "a drawing function": {"_target_": f"{PACKAGE}.engine.runs.metrics.draw_curves", "rows": [], "path": "victim.txt"},
    "a writer": {"_target_": "pytorch_lightning.loggers.csv_logs.ExperimentWriter", "log_dir": "runs/ours"},
    "a callback": {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "dirpath": "."},
}


@pytest.mark.parametrize("kind", HYPER_PARAMETERS)
def test_hyper_parameters_hold_plain_values_in_every_container(
    kind: str, attacked: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("network", "class_names"):
        content = torch.load(folder / "runs" / "ours" / "checkpoints" / "best.ckpt", weights_only=True)
        content["hyper_parameters"][where] = HYPER_PARAMETERS[kind]
        torch.save(content, attacked / "checkpoints" / "best.ckpt")
        loaded(attacked, folder, monkeypatch)


@pytest.mark.parametrize("key", ["hparams", "module_arguments", "datamodule_hyper_parameters", "hyper_parameters"])
def test_hyper_parameters_are_checked_wherever_lightning_keeps_them(
    key: str, attacked: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = attacked / "checkpoints" / "best.ckpt"
    spoilt(best, lambda content: content.setdefault(key, {}).update(network=(RUN,)))
    loaded(attacked, folder, monkeypatch)
    spoilt(best, lambda content: content.update({key: [RUN]}))
    loaded(attacked, folder, monkeypatch)


STATES: dict[str, Any] = {
    "a function": torch._utils._rebuild_tensor_v2, "a class": torch.Tensor, "an attribute": in_an_attribute(1),
}  # fmt: skip


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("part", ["callbacks", "optimizer_states", "lr_schedulers", "loops", "state_dict", "x"])
def test_no_part_of_a_checkpoint_holds_more_than_data(part: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {}, part: {"a": [({1: STATES[kind]},)]}}, path)
    with pytest.raises(RefusedError, match=r"holds more than tensors and plain values|it has no state_dict"):
        load_checkpoint(path)


def test_what_calls_the_model_is_not_taken_from_the_checkpoint(
    attacked: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = attacked / "checkpoints" / "best.ckpt"
    spoilt(best, lambda content: content.update(hparams_type="os.system", hparams_name="no such argument"))
    monkeypatch.chdir(folder)
    assert load_run("runs/theirs").model.hparams == load_run("runs/ours").model.hparams


TWO_STEPS = {"p": "$", "q": CREATE, "trainer.profiler": "${p}${q}"}
CONFIGS_THAT_RESOLVE: dict[str, dict[str, Any]] = {
    "two steps": TWO_STEPS,
    "a plain name": {"trainer.max_epochs": "${seed}"},
    "a selection": {"datamodule.x": "${oc.select:seed}"},
    "an escaped one": {"monitor": "\\${oc.env:HOME}"},
    "one in a key": {"model.network": {"_target_": "torch.nn.Identity", "${oc.env:HOME}": 1}},
    "one in a list of lists": {"x": [[{"a": ["$" + CREATE]}]]},
    "one in the name": {"name": "$", "monitor": "${name}" + CREATE},
    "a date": {"monitor": __import__("datetime").date(2026, 1, 1)},
    "bytes": {"monitor": b"x"},
    "a set": {"monitor": {"a", "b"}},
}


@pytest.mark.parametrize("kind", CONFIGS_THAT_RESOLVE)
def test_a_saved_config_holds_plain_values_alone(
    kind: str, attacked: Path, folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in CONFIGS_THAT_RESOLVE[kind].items():
        set_in_config(attacked, key, value)
    loaded(attacked, folder, monkeypatch)
    assert_refused(*command("train.py", "rerun=runs/theirs", "name=again"), "expected", folder)


def test_a_run_writes_its_config_resolved(folder: Path) -> None:
    """Also paths with the name of the run, which a rerun replaces."""
    text = (folder / "runs" / "ours" / "config.yaml").read_text(encoding="utf-8")
    assert "$" not in text
    assert yaml.safe_load(text)["callbacks"]["checkpoint"]["dirpath"] == "runs/ours/checkpoints"


def test_a_config_of_an_earlier_version_is_read_with_its_name(
    theirs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_in_config(theirs, "callbacks.checkpoint.dirpath", "runs/${name}/checkpoints")
    monkeypatch.chdir(folder)
    assert load_run("runs/theirs").model.hparams == load_run("runs/ours").model.hparams


@pytest.mark.parametrize("kind", ["hyper-parameters", "two steps"])
def test_every_command_that_reads_a_run_refuses_it(
    kind: str, attacked: Path, command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (attacked / "checkpoints").iterdir() if kind == "hyper-parameters" else ():
        spoilt(path, lambda content: content["hyper_parameters"].update(network=(RUN,)))
    for key, value in TWO_STEPS.items() if kind == "two steps" else ():
        set_in_config(attacked, key, value)
    loaded(attacked, folder, monkeypatch)
    said = outcomes(attacked, command)
    if kind == "two steps":  # an inexact resume reads nothing from the saved config
        said.pop("resume")
    assert {name: status for name, (status, _) in said.items()} == dict.fromkeys(said, 2), said


LIGHTNING = "pytorch_lightning"
BUILT: dict[str, tuple[str, Any]] = {
    "a writer in the data": ("datamodule.x", {"_target_": f"{LIGHTNING}.loggers.csv_logs.ExperimentWriter",
                                              "log_dir": "runs/ours"}),
    "a writer": ("callbacks.x", {"_target_": f"{LIGHTNING}.loggers.csv_logs.ExperimentWriter", "log_dir": "runs/ours"}),
    "a logger": ("callbacks.x", {"_target_": f"{LIGHTNING}.loggers.CSVLogger", "save_dir": ".", "version": ""}),
    "a database": ("logger.x", {"_target_": f"{LIGHTNING}.loggers.MLFlowLogger", "tracking_uri": "sqlite:///x.db"}),
    "a profiler": ("trainer.profiler", {"_target_": f"{LIGHTNING}.profilers.AdvancedProfiler",
                                        "dirpath": "runs/ours", "filename": "metrics"}),
    "an exception": ("callbacks.x", {"_target_": f"{LIGHTNING}.callbacks.OnExceptionCheckpoint",
                                     "dirpath": "runs/ours/checkpoints", "filename": "best"}),
    "a list of files": ("callbacks.x", {"_target_": f"{LIGHTNING}.callbacks.SpikeDetection",
                                        "exclude_batches_path": "runs/ours/config.yaml"}),
    "a call": ("callbacks.x", {"_target_": f"{LIGHTNING}.callbacks.LambdaCallback",
                               "setup": {"_target_": "torch.nn.Identity", "_partial_": True}}),
    "a plugin": ("trainer.plugins", [{"_target_": "lightning_fabric.plugins.TorchCheckpointIO"}]),
    "a strategy": ("trainer.strategy", {"_target_": f"{LIGHTNING}.strategies.DDPStrategy"}),
    "an upload": ("trainer.model_registry", "theirs"),
    "a drawing function": ("callbacks.x", {"_target_": f"{PACKAGE}.engine.runs.metrics.draw_curves",
                                           "rows": [], "path": "victim.txt"}),
    "another run": ("callbacks.checkpoint.dirpath", "runs/other/checkpoints"),
    "a way out in a name": ("callbacks.checkpoint.filename", "../../../victim"),
    "a place of another system": ("callbacks.checkpoint.dirpath", "local:///tmp/x"),
    "a way out in a list": ("callbacks.finite_guard.every", {"paths": ["configs/train.yaml"]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", BUILT)
def test_of_a_stranger_s_run_its_model_and_its_data_alone_are_built(
    kind: str, attacked: Path, folder: Path, command: Command
) -> None:
    """A rerun also builds its callbacks and its Trainer, if they are harmless."""
    set_in_config(attacked, *BUILT[kind])
    status, said = command("evaluate.py", "run=runs/theirs", *FAST)
    assert status in (0, 2), said
    assert status == 0 or len(said.splitlines()) == 1
    status, said = command("train.py", "rerun=runs/theirs", "name=again", "--check")
    if kind == "a database":  # a rerun uses the logger of the command
        assert status == 0, said
    else:
        assert_refused(status, said, BUILT[kind][0], folder)


@pytest.mark.parametrize("key", ["model", "datamodule"])
def test_what_is_no_model_and_no_datamodule_is_refused(
    key: str, attacked: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_in_config(attacked, key, {"_target_": "torch.nn.Identity"})
    loaded(attacked, folder, monkeypatch)


def test_texts_of_data_are_handed_on_as_they_are() -> None:
    """Hydra would interpolate the name of a class in an untrusted table."""
    assert build({"_target_": "torch.nn.Softmax"}, dim="${oc.env:HOME}").dim == "${oc.env:HOME}"
    built = build({"_target_": "torch.nn.ModuleList", "modules": ({"_target_": "torch.nn.Identity"},)})
    assert [type(each) for each in built] == [torch.nn.Identity]
    for node in (
        {"_target_": "torch.nn.Softmax", "dim": (RUN,)},
        {"_target_": "torch.nn.Softmax", "dim": "$" + CREATE},
    ):
        with pytest.raises(RefusedError):
            build(node)


@pytest.mark.parametrize(
    "way", ["runs/x/checkpoints/../../../victim.ckpt", "local://{}/victim.ckpt", "{}/victim.ckpt", "{}"]
)
def test_a_checkpoint_can_t_have_other_files_removed(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning takes the checkpoints to remove from the saved state of ModelCheckpoint."""
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim.ckpt"
    victim.touch()
    (tmp_path / "runs" / "x" / "checkpoints").mkdir(parents=True)
    own = tmp_path / "runs" / "x" / "checkpoints" / "old.ckpt"
    own.touch()
    files = AtomicCheckpointIO(RunFolder(Path("runs/x")))
    files.remove_checkpoint(way.format(tmp_path))
    assert victim.exists()
    files.remove_checkpoint(str(own))
    assert not own.exists()


def test_a_rerun_saves_into_its_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    files = AtomicCheckpointIO(RunFolder(Path("runs/x")), within=True)
    with pytest.raises(RefusedError, match="leads out of the run folder"):
        files.save_checkpoint({"state_dict": {}}, "runs/x/../victim.ckpt")
    files.save_checkpoint({"state_dict": {}}, "runs/x/checkpoints/best.ckpt")
    assert [path.name for path in tmp_path.rglob("*.ckpt")] == ["best.ckpt"]
