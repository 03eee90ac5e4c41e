"""Check where predictions are written: never over inputs, data, records of a run, or code."""

from pathlib import Path

from omegaconf import DictConfig

from ..config.tree import leaves, resolved
from ..errors import refusal

# File types of code, configs and checkpoints.
NOT_PREDICTIONS = (".py", ".ipynb", ".yaml", ".yml", ".toml", ".md", ".ckpt")


def check_output(output: Path, source: str, saved: DictConfig, one_of_many: bool = False) -> None:
    """Raises RefusedError if a prediction would replace an input, data, a record of a run, or code.

    With `one_of_many`, also if the file would be read as an input or as data next time, or lies beside the input.
    """
    file = output.resolve()
    if not (one_of_many or file.is_file()):
        return
    run = next((each for each in file.parents if _is_run(each)), None)
    around = () if run is None else (run, *run.parents)  # reading from these does not mean reading the run's files
    places = (each for each in _read_places(source, saved) if each.resolve() not in around)
    place, why = next((each for each in places if _holds(each, file)), None), None
    if place is not None:
        why = f"{'lies in' if place.is_dir() else 'is'} {place.as_posix()}, which is read"
    elif one_of_many and exists(source) and Path(source).is_file() and Path(source).resolve().parent == file.parent:
        why = "lies beside the input, as another one"
    elif run is not None and file.relative_to(run).parts[0] != "predictions":
        why = f"belongs to the run {run.name}"
    elif file.suffix.lower() in NOT_PREDICTIONS:
        why = "is not a prediction"
    if why:
        raise refusal("output", output, f"{why}, and is not overwritten; choose another output=")


def _read_places(source: str, saved: DictConfig) -> list[Path]:
    """Return the files and folders that the input and the run's data are read from."""
    words = [source, *(value for _, value in leaves(resolved(saved)["datamodule"]) if isinstance(value, str))]
    return [Path(word) for word in words if word and exists(word)]


def _is_run(folder: Path) -> bool:
    """True if the folder holds the record of a run or of a set of folds."""
    return any((folder / name).is_file() for name in ("provenance.json", "folds.json"))


def _holds(place: Path, file: Path) -> bool:
    """True if `file` is `place`, or lies below the folder `place`, by any path or link."""
    if not place.is_dir():
        return file.exists() and place.samefile(file)
    linked = file.exists() and file.stat().st_nlink > 1
    linked = linked and any(each.is_file() and each.samefile(file) for each in place.rglob("*"))
    return place.resolve() in file.parents or linked


def exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # text that is not a path
        return False
