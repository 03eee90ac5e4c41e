"""Structure of a rendered project: imports run one way, and research code needs only the face of the engine."""

import ast
import re
import sys
from pathlib import Path

import pytest
from conftest import CHOICES, Bake, run

# Rooms of the engine, each of which imports those after it; its other modules are leaves, and its face.
ROOMS = ("cli", "compare", "training", "runs", "config")
RESEARCH = ("models", "datamodules", "callbacks")
# Private names of OmegaConf, Python and torch, which the engine may use outside lightning.py.
NOT_LIGHTNING = {"_target_", "_get_full_key", "_get_node", "_exit", "_schema", "_check_help", "_backward_hooks"}


def modules_of(package: Path) -> dict[str, Path]:
    """Return the Python files of a package by their names within it: `engine.runs.lock`, `engine`."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, names: set[str]) -> set[str]:
    """Return the modules of the package that a file imports, also inside functions."""
    found = set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            source = ".".join(filter(None, base))
            found |= {f"{source}.{each.name}" if f"{source}.{each.name}" in names else source for each in node.names}
    return found - {name}


@pytest.fixture(params=CHOICES["starter"])
def imports(request: pytest.FixtureRequest, bake: Bake) -> dict[str, set[str]]:
    project = bake(starter=request.param, editor="vscode")
    modules = modules_of(project / "my_project")
    return {name: imports_of(name, path, {*modules}) for name, path in modules.items()}


def rank(name: str) -> int:
    """Return the place of a module of the engine in the order of imports: highest first, 0 for a leaf."""
    room = name.split(".")[1:2]
    return len(ROOMS) - ROOMS.index(room[0]) if room and room[0] in ROOMS else 0


def test_no_files_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    left = dict(imports)
    while ends := [name for name, found in left.items() if not found & left.keys()]:
        for name in ends:
            del left[name]
    assert not left, f"in a circle, or above one: {sorted(left)}"


def test_imports_within_the_engine_run_down(imports: dict[str, set[str]]) -> None:
    engine = {name: found for name, found in imports.items() if name.startswith("engine.")}
    up = [f"{name} -> {each}" for name, found in engine.items() for each in found if rank(each) > rank(name)]
    assert not up
    assert not [name for name, found in engine.items() if "engine" in found], "the face is for research code"


def test_research_imports_the_face_and_the_engine_no_research(imports: dict[str, set[str]]) -> None:
    for name, found in imports.items():
        of_engine = {each for each in found if each.split(".")[0] == "engine"}
        if name.split(".")[0] in RESEARCH:
            data = {"engine.order"} if name.split(".")[0] != "models" else set()
            assert of_engine <= {"engine", *data}, name
        elif name.startswith("engine"):
            assert found == of_engine, name
    assert {name.split(".")[0] for name in imports} == {"", "engine", *RESEARCH}


def test_the_command_line_configs_and_the_face_need_no_torch(bake: Bake) -> None:
    project = bake(editor="vscode")
    rooms = [name for name in modules_of(project / "my_project") if name.split(".")[1:2] in (["cli"], ["config"])]
    program = f"""
import importlib, sys
for name in {["engine", *rooms]!r}:
    importlib.import_module(f"my_project.{{name}}")
print(sorted({{"torch", "pytorch_lightning", "numpy"}} & sys.modules.keys()))
"""
    done = run(sys.executable, "-c", program, cwd=project)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_what_is_private_to_lightning_is_used_in_one_file(bake: Bake) -> None:
    engine = bake() / "my_project" / "engine"
    users = set()
    for path in engine.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr) and node.attr not in NOT_LIGHTNING:
                users |= {path.name} if ast.unparse(node.value) not in ("self", "cls") else set()
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("pytorch_lightning", "torchmetrics")):
                users |= {path.name for each in node.names if each.name.startswith("_")}
    assert users == {"lightning.py"}


def test_functions_of_the_engine_are_short(bake: Bake) -> None:
    for path in (bake() / "my_project").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 40, f"{path.name}: {node.name}"  # type: ignore[operator]
