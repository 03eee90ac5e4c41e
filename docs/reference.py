"""Write docs/reference.md: every key, option and argument, read from the code and configs of each rendered starter.

python docs/reference.py [file]
"""

import ast
import importlib
import inspect
import json
import re
import sys
import tempfile
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from annotated_types import Ge, Gt, Le, Lt
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
LOGGERS = "{{cookiecutter.project_slug}}/_options/logger/*/configs/logger/*.yaml"
GROUPS = ("model", "datamodule", "callbacks", "trainer", "logger", "", "experiment")  # "": train.yaml
INTRO = """# Reference

This page is made from the code by `python docs/reference.py`. In a type, [a, b) is an interval without b, and a *node*
is a mapping with a `_target_`. The column *config* says which file of `configs/` sets which value.
"""
# Files of a run folder that class RunFolder has no attribute for; `run_files` compares them with the code.
MORE_FILES = {
    "changes.patch": "Uncommitted changes at the start.",
    "evaluation_<checkpoint>.json": "Metrics from evaluate.py.",
    "predictions/test_split.csv": "Test samples with their true classes and probabilities, in classification.",
    "rerun.json": "Comparison with the run that was trained again.",
    "folds.csv": "Metrics of a set of folds, as a table.",
    "fold_<number>/": "Run folder of one fold.",
    "checkpoints/damaged.ckpt": "A damaged last.ckpt, kept aside.",
    "nonfinite/": "Step, samples and batch at which a run became NaN or infinite.",
}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
Section = tuple[str, str]  # heading and text


class File(NamedTuple):
    """A config file: key -> (value, comment), and the `_target_` of each node by its key."""

    group: str
    name: str
    about: str
    keys: dict[str, tuple[str, str]]
    targets: dict[str, str]


def read(path: Path, group: str) -> File:
    written = path.read_text(encoding="utf-8").replace("{{ cookiecutter.project_slug }}", "my-project")
    lines = written.splitlines()
    keys: dict[str, tuple[str, str]] = {}
    targets: dict[str, str] = {}

    def walk(node: yaml.Node | None, above: str) -> None:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            full = f"{above}.{key.value}".removeprefix(".")
            comment = lines[key.start_mark.line].partition(" # ")[2]
            inner = [name.value for name, _ in value.value] if isinstance(value, yaml.MappingNode) else None
            if key.value == "_target_":
                targets[above] = value.value
            elif inner is None and key.value != "defaults":
                keys[full] = (written[value.start_mark.index : value.end_mark.index].strip(), comment)
            elif inner and key.value != "hydra":
                if "_target_" in inner:
                    target = value.value[inner.index("_target_")][1].value
                    keys[full] = (target.rpartition(".")[2], comment)
                walk(value, full)

    walk(yaml.compose(written), "" if group in ("experiment", "") else group)
    heading = re.match(r"(#.*\n)*", written)
    about = (
        [line[2:].removesuffix(".") for line in heading[0].splitlines() if "@package" not in line] if heading else []
    )
    return File(group, path.stem, ". ".join(about), keys, targets)


class Project:
    """A rendered starter, whose package is named after it."""

    def __init__(self, starter: str, folder: Path) -> None:
        config = folder / "cookiecutter.yaml"
        config.write_text(f"replay_dir: {folder / 'replay'}\ncookiecutters_dir: {folder / 'templates'}\n")
        answers = {"starter": starter, "package_name": starter, "project_slug": starter}
        rendered = cookiecutter(
            str(ROOT), no_input=True, extra_context=answers, output_dir=str(folder), config_file=str(config)
        )
        self.name, self.root = starter, Path(rendered)
        sys.path.insert(0, rendered)
        configs = self.root / "configs"
        self.train = read(configs / "train.yaml", "")
        options = [read(path, path.parent.name) for path in (*configs.glob("*/*.yaml"), *ROOT.glob(LOGGERS))]
        self.files = [self.train, *options]
        self.files.sort(key=lambda file: (GROUPS.index(file.group), file.name != "default", file.name))

    def engine(self, module: str) -> Any:
        return importlib.import_module(f"{self.name}.engine.{module}")

    def definition(self, target: str) -> Any:
        found = self.engine("config.modules").locate(target)
        return None if isinstance(found, str) else found

    def takes(self, target: str) -> dict[str, Any]:
        """Return the parameters of a target; {} if its signature can't be read."""
        found = self.definition(target)
        takes = found and self.engine("config.signatures").signature(found)
        return takes.parameters if takes else {}

    def targets(self) -> list[tuple[str, str]]:
        """Return key and target of each node of the configs, and of each schedule, in the order of GROUPS."""
        pairs = dict.fromkeys(item for file in self.files for item in file.targets.items())
        schedules = f"{self.name}.models.optimization"
        for name, node in self.engine("config.modules").read_module(schedules).names.items():
            if "target" in map(ast.unparse, getattr(node, "decorator_list", ())):
                pairs["model.scheduler", f"{schedules}.{name}"] = None
        return sorted(pairs, key=lambda item: GROUPS.index(item[0].partition(".")[0]))

    def type(self, key: str) -> str:
        """Return the type of a key of train.yaml."""
        switches = typing.get_type_hints(self.engine("arguments").Switches, include_extras=True)
        above, _, name = key.rpartition(".")
        for prefix, target in self.targets():
            if prefix == above and name in self.takes(target):
                return words(self.takes(target)[name].type())
        return words(switches.get(key, Any))

    def passed(self, prefix: str, target: str) -> set[str]:
        """Return the arguments that the data or the code passes to the node at `prefix`."""
        check, signatures = self.engine("config.check"), self.engine("config.signatures")
        names: set[str] = set()
        if prefix == "model":
            data = [target for key, target in self.targets() if key == "datamodule"]
            return names.union(*(check.facts_of({"_target_": each}) or () for each in data))
        above, _, name = prefix.rpartition(".")
        for given in (check.given_to(self.takes(each).get(name)) for key, each in self.targets() if key == above):
            takes = given and signatures.signature(self.definition(target))
            names |= {*given.names, *(takes.positional[: given.positional] if takes else ())} if given else set()
        return names


def words(type_: Any) -> str:
    """Return a type in words: int in [1, 16], or null."""
    origin, parts = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Annotated:
        return annotated(parts[0], [each for part in parts[1:] for each in getattr(part, "metadata", [part])])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(words, parts)))
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (list, tuple) or getattr(origin, "__name__", "") == "Sequence":
        inner = [words(part) for part in dict.fromkeys(parts) if part is not ...]
        return f"list of {' and '.join(filter(None, inner)) or 'values'}"
    if origin is dict:
        return "mapping"
    names = {Any: "", types.NoneType: "null", Path: "path"}
    return names[type_] if type_ in names else {"Node": "node", "str": "text"}.get(type_.__name__, type_.__name__)


def annotated(base: Any, metadata: list[Any]) -> str:
    kinds = {"Given": "node", "PathType": ""}
    for each in metadata:
        if type(each).__name__ in kinds:
            return kinds[type(each).__name__] or {"dir": "folder", "file": "file"}[each.path_type]
    least = next((each for each in metadata if isinstance(each, Ge | Gt)), None)
    most = next((each for each in metadata if isinstance(each, Le | Lt)), None)
    if (least is None) != (most is None):
        bound = least or most
        return next(
            f"{words(base)} {sign} {getattr(bound, name)}" for name, sign in SIGNS.items() if hasattr(bound, name)
        )
    lower = f"[{least.ge}" if isinstance(least, Ge) else f"({least.gt}" if least else ""
    upper = f"{most.le}]" if isinstance(most, Le) else f"{most.lt})" if most else ""
    return f"{words(base)} in {lower}, {upper}" if least or most else words(base)


def default_of(parameter: Any, project: Project) -> str:
    """Return the default of a parameter as YAML writes it; "required" if it has none."""
    if parameter.required:
        return "required"
    for node in ast.walk(parameter.module.tree):
        if not isinstance(node, ast.arguments):
            continue
        args = [*node.posonlyargs, *node.args]
        pairs = [
            *zip(args[::-1], node.defaults[::-1], strict=False),
            *zip(node.kwonlyargs, node.kw_defaults, strict=True),
        ]
        for arg, value in pairs:
            if value is not None and arg.annotation is parameter.annotation is not None:
                return f"`{as_yaml(value, parameter.module, project)}`"
    return ""


def as_yaml(value: ast.AST, module: Any, project: Project) -> str:
    if isinstance(value, ast.Name):  # a constant
        found = project.engine("config.modules").lookup(module, value.id)
        value = found.node if found and found.node else value
    try:
        plain = ast.literal_eval(value)  # type: ignore[arg-type]
    except ValueError:
        return ast.unparse(value)
    return plain if isinstance(plain, str) and plain else json.dumps(plain, ensure_ascii=False)


def plain(text: str) -> str:
    """Escape what Markdown would read in `text` outside code."""
    signs = {"<": "&lt;", "*": "\\*", "|": "\\|", "\n": " "}
    text = re.sub(r"`[^`]*`|[<*|\n]", lambda found: signs.get(found[0], found[0]), text)
    return re.sub(r"https://\S+[^\s.,;:]", r"<\g<0>>", text)


def table(header: str, rows: Iterable[Iterable[str]]) -> str:
    titles = header.split(", ")
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}", *lines, ""])


def settings(files: list[File], key: str) -> tuple[str, str]:
    """Return the values of a key with the files that set it, and the comments on it."""
    found = [(file, *file.keys[key]) for file in files if key in file.keys]
    names = {id(file): f"experiment={file.name}" if file.group == "experiment" else file.name for file in files}
    shown = ((file, "a list" if "\n" in value else f"`{value}`") for file, value, _ in found)
    values = ", ".join(f"{names[id(file)]}: {value}" for file, value in shown)
    comments = dict.fromkeys(comment for file, _, comment in found if comment and file.group != "experiment")
    return values, plain("; ".join(comments))


def arguments(project: Project, prefix: str, target: str) -> Section:
    """Return the section of a class: its own arguments, and those that a config sets."""
    files = [file for file in project.files if file.targets.get(prefix, target) == target]
    if prefix == "trainer":
        files = [file for file in files if file.group == "trainer"]
    takes, passed = project.takes(target), project.passed(prefix, target)
    own = [name for name, each in takes.items() if each.module.name.startswith(f"{project.name}.")]
    in_files = [key.rpartition(".") for file in files for key in file.keys]
    rows = []
    for name in dict.fromkeys([*own, *(name for above, _, name in in_files if above == prefix)]):
        values, comments = settings(files, f"{prefix}.{name}")
        if name not in passed and (name in takes or not own):  # an experiment may be for another model
            kind = words(takes[name].type()) if name in takes else ""
            default = default_of(takes[name], project) if name in takes else ""
            rows.append((f"`{prefix}.{name}`", kind, default, values, comments))
    body = table("key, type, default, config, comment", rows) if rows else ""
    return target.rpartition(".")[2], "\n\n".join([*about(project, target, passed), body])


def about(project: Project, target: str, passed: set[str]) -> list[str]:
    """Return the place of a class; for one of the project also its docstring's first paragraph, and `passed`."""
    found, place = project.definition(target), target.removeprefix(f"{project.name}.")
    if place == target or found is None:
        return [f"`{place}`"]
    text = [f"`{place}`: {plain((ast.get_docstring(found.node) or '').partition(chr(10) * 2)[0])}"]
    given = [f"`{name}`" for name in project.takes(target) if name in passed]
    return [*text, f"Passed by the code: {', '.join(given)}."] if given else text


def train_keys(project: Project) -> list[tuple[str, ...]]:
    """Return a row for each group and key of train.yaml that is not in the section of a class."""
    written = yaml.safe_load((project.root / "configs" / "train.yaml").read_text(encoding="utf-8"))
    lines = (project.root / "configs" / "train.yaml").read_text(encoding="utf-8").splitlines()
    rows = []
    for group, chosen in (item for entry in written["defaults"] if isinstance(entry, dict) for item in entry.items()):
        if group in GROUPS:
            line = next(line for line in lines if line.startswith(f"  - {group}: "))
            value = json.dumps(chosen).replace('"', "")
            rows.append((f"`{group}`", "option", f"`{value}`", plain(line.partition(" # ")[2])))
    for key in project.train.keys:
        if not key.startswith("model."):
            recipes = [file for file in project.files if file.group == "experiment" and key.startswith("trainer.")]
            values, comment = settings([project.train, *recipes], key)
            rows.append((f"`{key}`", project.type(key), values.removeprefix("train: "), comment))
    return rows


def options(project: Project) -> list[tuple[str, ...]]:
    """Return a row for each file of a group."""
    needs = {"logger": ". Rendered if the answer to the question `logger` is this one"}
    files = [file for file in project.files if file.group]
    return [(f"`{file.group}={file.name}`", plain(file.about + needs.get(file.group, ""))) for file in files]


def exit_statuses(project: Project) -> str:
    documented = " ".join((inspect.getdoc(project.engine("cli.command").command) or "").split()).partition(
        "Exit status: "
    )[2]
    rows = []
    for status, name in re.findall(r"(\d+(?: or \d+)?) (\w+)", documented):
        error = getattr(project.engine("errors"), f"{name.title()}Error", None)
        rows.append((status, name, (inspect.getdoc(error) or "").partition(". ")[0].removesuffix(".") if error else ""))
    return table("status, means, cause", rows)


def run_files(project: Project) -> str:
    """Return a table of the files of a run folder. Raises SystemExit if the code writes one that it lacks."""
    kind = project.engine("runs.folder").RunFolder
    folder = kind(Path("run"))
    comments = re.findall(r"self\.(\w+) = .*  # (.*)", inspect.getsource(kind))
    found = {
        getattr(folder, name).relative_to("run").as_posix(): f"{text[0].upper()}{text[1:]}." for name, text in comments
    }
    sources = [path.read_text(encoding="utf-8") for path in (project.root / project.name).rglob("*.py")]
    written = {name for text in sources for name in re.findall(r'\.path / "(\w+\.\w+)"', text)}
    begins = {name: re.split(r"[<.]|/$", name.removeprefix("checkpoints/"))[0] for name in MORE_FILES}
    gone = {name for name, begin in begins.items() if not any(begin in text for text in sources)}
    missing = written - found.keys() - MORE_FILES.keys()
    if gone or missing:
        sys.exit(f"MORE_FILES lacks {missing or 'nothing'}, and the code does not write {gone or 'less'}")
    return table("file, holds", [(f"`{name}`", plain(text)) for name, text in sorted((found | MORE_FILES).items())])


def shared(lists: list[list[Any]]) -> list[Any]:
    """Return the items that are in every list."""
    return [item for item in lists[0] if all(item in each for each in lists)]


def commands(project: Project, keys: list[tuple[str, ...]]) -> Iterator[str]:
    yield "## Commands\n\n### Flags\n"
    yield table("flag, does", [(f"`{flag}`", plain(text)) for flag, text in project.engine("cli.help").FLAGS.items()])
    yield f"### Keys of train.py\n\n{table('key, type, default, comment', keys)}"
    for name in ("evaluate", "predict"):
        file = read(project.root / "configs" / f"{name}.yaml", "")
        rows = [
            (f"`{key}`", "required" if value == "???" else f"`{value}`", plain(text))
            for key, (value, text) in file.keys.items()
        ]
        yield f"### Keys of {name}.py\n\n{table('key, default, comment', rows)}"
    yield f"### Exit statuses\n\n{exit_statuses(project)}"
    yield f"### Files of a run folder\n\n{run_files(project)}"


def page(projects: list[Project]) -> str:
    classes = [[arguments(project, *each) for each in project.targets()] for project in projects]
    keys, choices = [train_keys(each) for each in projects], [options(each) for each in projects]
    every = [shared(each) for each in (keys, choices, classes)]
    text = [INTRO, *commands(projects[0], every[0]), f"## Every starter\n\n{table('option, is', every[1])}"]
    text += [f"### {heading}\n\n{body}" for heading, body in every[2]]
    for project, *own in zip(projects, keys, choices, classes, strict=True):
        own_keys, own_choices, own_classes = ([x for x in a if x not in b] for a, b in zip(own, every, strict=True))
        text.append(f"## {project.name.replace('_', ' ').capitalize()}\n\n{table('option, is', own_choices)}")
        text.append(table("key, type, default, comment", own_keys))
        text += [f"### {heading}\n\n{body}" for heading, body in own_classes]
    return "\n".join(text)


def main(path: Path) -> None:
    starters = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["starter"]
    with tempfile.TemporaryDirectory() as folder:
        path.write_text(page([Project(starter, Path(folder)) for starter in starters]), encoding="utf-8")
    print(f"Wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "reference.md")
