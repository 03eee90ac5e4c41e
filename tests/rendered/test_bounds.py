"""Nothing in a run folder, a checkpoint or a config makes a command hang, or use more memory than the file has."""

import copy
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Command, options
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from test_resume import QUICK

from my_project import load_run
from my_project.engine.config.check import check_config
from my_project.engine.config.tree import leaves, resolved
from my_project.engine.errors import RefusedError
from my_project.engine.files import write_json
from my_project.engine.plain import read_json, read_yaml
from my_project.engine.runs.folder import RunFolder, check_folder
from my_project.engine.runs.loading import load_checkpoint, room_for
from my_project.engine.runs.metrics import draw_curves, read_metrics, read_results
from my_project.engine.runs.provenance import read_provenance
from my_project.engine.runs.seen import read_seen
from my_project.engine.training.resume import check_optimizer_states, forget_others_files

SECONDS = 60  # each is refused in about one second, and plots are drawn in three; a busy machine takes longer


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """Fail a test that hangs, or that takes a gigabyte."""

    def late(*_: object) -> None:
        raise AssertionError(f"it takes more than {SECONDS} s")

    before, signalled = peak(), signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, signalled)
    assert peak() - before < 2**30


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.fixture(scope="module")
def folder(command: Command) -> Path:
    """The folder in which runs/ours has been trained."""
    signal.alarm(0)
    status, said = command("train.py", "name=ours", *QUICK)
    assert status == 0, said
    return command.folder


@pytest.fixture
def theirs(folder: Path) -> Path:
    """An untrusted run folder."""
    path = folder / "runs" / "theirs"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder / "runs" / "ours", path)
    return path


def assert_refused(done: tuple[int, str], part: str) -> None:
    status, said = done
    assert status == 2, said
    assert part in said
    assert len(said.strip().splitlines()) == 1, said


def aliases(count: int) -> str:
    """Return YAML's billion laughs: `count` times, ten aliases of the one before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, count))])


BOMBS = {
    "aliases": (aliases(12), "more than 20,000 keys and values"),
    "merged aliases": ("a0: &a0 {x: 1}\n" + "\n".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)
    ), "more than 20,000 keys and values"),
    "an alias of itself": ("a: &a [*a]", "more than 20,000 keys and values"),
    "aliases in a chain": ("a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 5000)), "nested"),
    "100,000 keys": ("\n".join(f"k{n}: 1" for n in range(60_000)), "more than 20,000 keys and values"),
    "megabytes in a scalar": (f"a: '{'x' * 2**22}'", "is larger than 1 MB"),
    "a long scalar": (f"a: '{'x' * 2**19}'", "a value of 524,288 characters"),
    "a number of many digits": (f"a: {'1' * 2**19}", "a value of 524,288 characters"),
    "a number of many sixties": (f"a: 1{':1' * 2**18}", "a value of 524,289 characters"),
    "brackets": ("a: " + "[" * 100_000, "nested deeper than 50"),
    "dashes": ("a:\n  " + "- " * 100_000 + "x", "nested deeper than 50"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_a_saved_config_that_would_hang_is_refused(kind: str, theirs: Path, command: Command) -> None:
    text, part = BOMBS[kind]
    with (theirs / "config.yaml").open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    done = command("evaluate.py", "run=runs/theirs")
    assert_refused(done, "config.yaml")
    assert part in done[1]


@pytest.mark.parametrize("kind", ["aliases", "100,000 keys", "brackets"])
def test_so_is_one_of_ones_own(kind: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "train.py", tmp_path)
    text, part = BOMBS[kind]
    own = tmp_path / "configs" / "experiment" / "own.yaml"
    own.write_text(f"# @package _global_\n{text}\n", encoding="utf-8")
    own_command = Command(tmp_path, tmp_path)
    for words in (("--check",), ("--check", "experiment=own"), ("--cfg", "job", "experiment=own")):
        done = own_command("train.py", *words)
        assert_refused(done, "configs/experiment/own.yaml")
        assert part in done[1]


def test_a_config_of_references_is_not_shown_either(tmp_path: Path) -> None:
    lines = ["a0: xxxxxxxxxx", *(f"a{n}: {f'${{a{n - 1}}}' * 10}" for n in range(1, 12))]
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "train.py", tmp_path)
    with (tmp_path / "configs" / "train.yaml").open("a", encoding="utf-8") as file:
        file.write("\n".join(["", *lines, ""]))
    assert_refused(Command(tmp_path, tmp_path)("train.py", "--cfg", "job", "--resolve"), "its references make a text")


REFERENCES: dict[str, dict[str, Any]] = {
    "texts": {"a0": "x" * 10, **{f"a{n}": f"${{a{n - 1}}}" * 10 for n in range(1, 12)}},
    "nodes": {"a0": {"x": 1}, **{f"a{n}": {f"k{m}": f"${{a{n - 1}}}" for m in range(10)} for n in range(1, 12)}},
    "a chain": {"a0": "x", **{f"a{n}": f"${{a{n - 1}}}" for n in range(1, 1000)}},
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_references_that_make_too_much_of_one_another_are_refused(kind: str) -> None:
    with pytest.raises(RefusedError, match="references"):
        resolved(DictConfig(REFERENCES[kind]))


def test_references_of_usual_size_are_resolved() -> None:
    cfg = DictConfig({"a": 1, "b": "${a}", "c": {"d": "${b}", "e": "${a}${b}"}, "f": "${c}", "g": "${oc.env:HOME}"})
    assert resolved(cfg)["f"] == {"d": 1, "e": "11"}


def test_anchors_of_usual_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {lr: 0.1}\nb: {<<: *a, x: [*a, *a]}\n", encoding="utf-8")
    assert read_yaml(path)["b"] == {"lr": 0.1, "x": [{"lr": 0.1}] * 2}


# Arguments of a datamodule that decide the time and memory of a prediction.
SIZES = ("samples_per_class", "max_new_tokens", "num_workers", "context", "size", "tile", "patch", "region", "crops")


@pytest.mark.parametrize("option", [*(f"model={name}" for name in options("model")), "datamodule"])
def test_what_decides_size_or_time_has_an_upper_end(option: str, configure: Callable[..., DictConfig]) -> None:
    cfg = configure(*([option] if "=" in option else []))
    group = option.partition("=")[0]
    numbers = [key for key, value in leaves(OmegaConf.to_container(cfg[group])) if type(value) is int]
    model = [key for key in numbers if not key.startswith(("optimizer", "scheduler"))]
    for key in model if group == "model" else [key for key in numbers if key in SIZES]:
        for value in (10**9, float("inf")):
            changed = copy.deepcopy(cfg)
            OmegaConf.update(changed, f"{group}.{key}", value)
            with pytest.raises(RefusedError, match=rf"^{group}\.{key}="):
                check_config(changed)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listener(path: Path) -> None:
    """Create a socket. Its path has to be short, so it is bound from its own folder."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


PLACES = (
    "config.yaml", "provenance.json", "metrics.csv", "metrics.csv.tmp", "metrics.json", "lock.json", "train.log",
    "evaluation_best.json", "evaluation_best.json.tmp", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    "checkpoints/last.ckpt.tmp", "predictions/new.csv", "changes.patch", "rerun.json.tmp",
)  # fmt: skip


@pytest.mark.parametrize("make", [pipe, listener, Path.mkdir], ids=["pipe", "socket", "folder"])
@pytest.mark.parametrize("place", [*PLACES, "evaluation_best/plots/x.png"])
def test_what_is_no_file_is_refused_wherever_it_lies(place: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    if make is Path.mkdir and path.suffix == ".png":  # not one of FILES: nothing is written there
        check_folder(tmp_path)
        return
    with pytest.raises(RefusedError, match=path.name):
        check_folder(tmp_path)


@pytest.mark.parametrize("place", ["evaluation_best.json.tmp", "predictions/x", "metrics.csv", "checkpoints/x.ckpt"])
def test_a_pipe_does_not_make_a_command_wait(place: str, theirs: Path, folder: Path, command: Command) -> None:
    path = theirs / place
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    for words in (
        ("evaluate.py", "run=runs/theirs"),
        ("predict.py", "run=runs/theirs", "input=new"),
        ("train.py", "rerun=runs/theirs", "name=again"),
        ("train.py", "init_from=runs/theirs", "name=again", *QUICK),
    ):
        assert_refused(command(*words), path.name)
    (theirs / "metrics.json").unlink()
    assert_refused(command("train.py", "name=theirs", *QUICK), path.name)
    assert not (folder / "runs" / "again").exists()


def test_a_leftover_of_a_killed_process_is_written_over_and_a_link_not_through(tmp_path: Path) -> None:
    other, path = tmp_path / "other.txt", tmp_path / "a.json"
    for leave in (lambda at: at.write_text("half"), lambda at: at.symlink_to(other), pipe):
        other.write_text("theirs")
        leave(tmp_path / "a.json.tmp")
        write_json(path, {"a": 1})
        assert path.read_text() == '{\n  "a": 1\n}\n'
        assert other.read_text() == "theirs"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["a.json", "other.txt"]


TABLES = {
    "words": b"epoch,step,val/loss\n0,1,low\n",
    "a short row": b"epoch,step,val/loss\n0,1\n",
    "a long row": b"epoch,step\n0,1,2\n",
    "an infinite step": b"epoch,step\n0,1e999\n",
    "no number of a step": b"epoch,step\n0,nan\n",
    "zeros": b"epoch,step\n\0\0\0\n",
    "no text": b"epoch,step\n\xff\xfe\n",
    "a long cell": b"epoch,step\n0,1" + b"0" * 2**20 + b"\n",
    "an open quote": b'epoch,step\n0,"' + b"1\n" * 2**20,
    "many columns": b",".join(b"c%d" % n for n in range(2**16)) + b"\n" + b"1\n" * 2**20,
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_that_holds_no_metrics_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(TABLES[kind])
    with pytest.raises(RefusedError, match=r"metrics\.csv"):
        read_metrics(path)


def test_a_large_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n" + "".join(f"0,{step},0.5\n" for step in range(100_000)) + "0,5,0")
    assert read_metrics(path)[-1] == {"epoch": 0, "step": 99_999, "train/loss": 0.5}


JSON = {
    "depth": "[" * 100_000 + "]" * 100_000,
    "digits": '{"a": ' + "1" * 2**20 + "}",
    "size": f'{{"a": "{"x" * 2**25}"}}',
    "no object": "[1]",
    "no text": '{"a": "\udcff"}',
}


@pytest.mark.parametrize("kind", JSON)
def test_json_that_would_hang_is_refused(kind: str, tmp_path: Path) -> None:
    readers = {"provenance.json": read_provenance, "metrics.json": lambda run: read_results(run.metrics)}
    for name, read in readers.items():
        (tmp_path / name).write_bytes(JSON[kind].encode(errors="surrogateescape"))
        with pytest.raises(RefusedError, match=name):
            read(RunFolder(tmp_path))


def test_json_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(RefusedError, match=r"a\.json: can't be read"):
        read_json(tmp_path / "a.json")


# Checkpoints: a crafted pickle in a file of torch's


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def called(module: str, name: str, number: int) -> bytes:
    """Pickle `module.name(number)`."""
    return f"c{module}\n{name}\n".encode() + b"\x8a\x08" + struct.pack("<q", number) + b"\x85R"


def pickled(value: bytes) -> bytes:
    """Pickle {"state_dict": {}, "hyper_parameters": {"value": value}}."""
    inner = b"}" + text("value") + value + b"s"
    return b"\x80\x02}" + text("state_dict") + b"}s" + text("hyper_parameters") + inner + b"s."


def rewritten(path: Path, change: Callable[[str, bytes], bytes] = lambda _, data: data, packed: int = 0) -> None:
    """Rewrite a checkpoint with changed records."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))


def hold(value: bytes) -> Callable[[Path], None]:
    return lambda path: rewritten(path, lambda name, data: pickled(value) if name.endswith("/data.pkl") else data)


def spoilt(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return spoil


def claim(name: str, size: tuple[int, ...], stride: tuple[int, ...]) -> Callable[[Path], None]:
    """Add a tensor that claims this shape, with a storage of one number."""
    return spoilt(lambda content: content["state_dict"].update({name: torch.zeros(1).as_strided(size, stride)}))


def longer(path: Path) -> None:
    """Make the storage of each weight claim more numbers than its record holds."""
    first = next(iter(torch.load(path, weights_only=True)["state_dict"].values())).numel()
    old = b"K" + bytes([first]) if first < 256 else b"M" + struct.pack("<H", first)
    new = b"J" + struct.pack("<i", 2**30)
    rewritten(path, lambda name, data: data.replace(old, new) if name.endswith("/data.pkl") else data)


LISTS = 60_000
CHECKPOINTS = {
    "packed records": lambda path: rewritten(path, packed=zipfile.ZIP_DEFLATED),
    "a gigabyte of packed zeros": lambda path: rewritten(
        path, lambda name, data: bytes(2**26) if name.endswith("/data/0") else data, zipfile.ZIP_DEFLATED
    ),
    "a repeated number": claim("x", (10**12,), (0,)),
    "many repeated numbers": spoilt(lambda content: content["callbacks"].update(
        {str(n): torch.zeros(1).expand(10**5) for n in range(1000)}
    )),
    "a longer storage": longer,
    "bytes of any size": hold(called("__builtin__", "bytearray", 10**12)),
    "a tensor of any size": hold(called("torch", "Tensor", 10**12)),
    "lists in lists": hold(b"]" * LISTS + b"a" * (LISTS - 1)),
    "a list in itself": hold(b"]q\x01h\x01a"),
    "lists of the same list": hold(b"]q\x00" + b"".join(
        b"](" + b"h" + bytes([n]) + (b"h" + bytes([n])) * 9 + b"eq" + bytes([n + 1]) for n in range(40)
    )),
    "a wide layer": spoilt(lambda content: widen(content, 10**9)),
    "a layer of another sign": spoilt(lambda content: widen(content, -1)),
    "a layer of no number": spoilt(lambda content: widen(content, float("inf"))),
    "an image of a million pixels a side": spoilt(
        lambda content: content["hyper_parameters"].update(input_shape=[1, 10**6, 10**6])
    ),
    "nodes of the same node": spoilt(lambda content: content["hyper_parameters"]["network"].update(x=shared(12))),
    "many classes": spoilt(lambda content: content["hyper_parameters"].update(class_names=["x"] * 10**6)),
    "no weights": spoilt(lambda content: content.update(state_dict={"x": "y"})),
    "no dict": lambda path: torch.save([1], path),
}  # fmt: skip


def shared(depth: int) -> list[Any]:
    """Return ten times the same list, of ten times the same list, and so on."""
    return [shared(depth - 1)] * 10 if depth else [1]


def widen(content: dict[str, Any], width: Any) -> None:
    network = content["hyper_parameters"]["network"]
    network.update({key: width for key, value in network.items() if type(value) is int})


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_that_claims_more_than_it_holds_is_refused(
    kind: str, theirs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CHECKPOINTS[kind](theirs / "checkpoints" / "best.ckpt")
    monkeypatch.chdir(folder)
    with pytest.raises(RefusedError, match=r"best\.ckpt") as refused:
        load_run("runs/theirs")
    assert len(str(refused.value).splitlines()) == 1


def test_what_usual_checkpoints_hold_is_loaded(tmp_path: Path) -> None:
    path, weight = tmp_path / "a.ckpt", torch.nn.Parameter(torch.randn(3, 4))
    content = {
        "state_dict": {"a": weight, "tied": weight, "view": weight.detach().T, "half": torch.zeros(2).bfloat16()},
        "extra": {"size": torch.Size([2]), "device": torch.device("cpu"), "dtype": torch.float16},
        "bytes": b"x", "set": {1},
        "empty": torch.zeros(0, 5), "flag": torch.tensor(True), "number": torch.tensor(1, dtype=torch.uint8),
    }  # fmt: skip
    torch.save(content, path)
    loaded = load_checkpoint(path)
    assert all(loaded[key] == content[key] for key in ("extra", "bytes", "set"))
    assert torch.equal(loaded["state_dict"]["view"], weight.detach().T)


def test_an_optimizer_s_state_that_does_not_fit_its_kernel_is_refused() -> None:
    """A fused kernel writes as far as the parameter is long, whatever the size of the state."""
    for state in (torch.zeros(1), torch.zeros(1).expand(64), "text"):
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(64))], fused=True)
        parameter = optimizer.param_groups[0]["params"][0]
        optimizer.state[parameter] = {
            "step": torch.tensor(1.0), "exp_avg": torch.zeros(64), "exp_avg_sq": torch.zeros(64)
        }  # fmt: skip
        check_optimizer_states([optimizer])
        optimizer.state[parameter]["exp_avg"] = state
        with pytest.raises(RefusedError, match="'exp_avg' of an optimizer does not fit its parameter"):
            check_optimizer_states([optimizer])


def test_a_checkpoint_callback_forgets_files_elsewhere(tmp_path: Path) -> None:
    callback = ModelCheckpoint(dirpath=tmp_path / "run" / "checkpoints")
    own = str(tmp_path / "run" / "checkpoints" / "best.ckpt")
    callback.kth_best_model_path = own
    callback.best_model_path, callback.last_model_path = own, f"{tmp_path}/run/checkpoints/../../other/victim"
    callback.best_k_models = {own: torch.tensor(1.0), "/home/victim.ckpt": torch.tensor(2.0)}
    forget_others_files(callback, RunFolder(tmp_path / "run"))
    assert (callback.best_model_path, callback.last_model_path, [*callback.best_k_models]) == (own, "", [own])


def test_sizes_that_no_module_registers_are_counted(tmp_path: Path) -> None:
    """Intermediate tensors, and buffers of other libraries, take memory as well."""
    with pytest.raises(RefusedError, match="hyper-parameters"), room_for({"w": torch.zeros(8)}, tmp_path / "x.ckpt"):
        torch.zeros(2**20) + torch.zeros(2**40, device="meta").numel() * torch.zeros(2**30)
    with room_for({"w": torch.zeros(8)}, tmp_path / "x.ckpt"):
        torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2), 2)
    layer = torch.nn.TransformerEncoderLayer(8, 2)
    with pytest.raises(RefusedError, match="hyper-parameters"), room_for({"w": torch.zeros(8)}, tmp_path / "x.ckpt"):
        torch.nn.TransformerEncoder(layer, 10**6)


SEEN = {
    "a zip": b"PK\x03\x04" + b"\0" * 64,
    "a header of dashes": b"\x93NUMPY\x01\x00v\x00" + b"-" * 117 + b"1",
    "no rows that there are": b"\x93NUMPY\x01\x00v\x00{'descr': '<u8', 'fortran_order': False, 'shape': ("
    + b"9" * 22
    + b",)}",
    "text": b"not an array",
}


@pytest.mark.parametrize("kind", SEEN)
def test_what_is_no_table_of_keys_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "seen.npy").write_bytes(SEEN[kind])
    with pytest.raises(RefusedError, match=r"seen\.npy"):
        read_seen(RunFolder(tmp_path))


def test_a_link_that_leads_to_itself_and_half_a_letter_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RefusedError, match="leads out of the run folder"):
        check_folder(tmp_path)
    (tmp_path / "provenance.json").write_text('{"command": "\\ud800"}')
    with pytest.raises(RefusedError, match="can't be read"):
        read_json(tmp_path / "provenance.json")


@pytest.mark.parametrize("name", ["{", "{step:0300000000d}", "{0}", "x}"])
def test_a_name_of_checkpoints_holds_metrics_of_usual_width(name: str, tmp_path: Path) -> None:
    status, said = Command(tmp_path)("train.py", "--check", f"callbacks.checkpoint.filename='{name}'")
    assert (status, "callbacks.checkpoint.filename" in said) == (2, True), said


def test_curves_of_many_metrics_and_odd_names_are_drawn(tmp_path: Path) -> None:
    names = ["train/$\\frac$", *(f"train/m{number}" for number in range(60))]
    rows = [{"epoch": 0, "step": step, **dict.fromkeys(names, 1.0)} for step in (1, 2)]
    draw_curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
