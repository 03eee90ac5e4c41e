"""Rows of own_data.py about text: a language model of licences and documentation, and docstrings by package."""

import ast
import csv
import hashlib
import importlib
import importlib.util
import json
import random
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from own_common import Context, Score, rendered, trained

# Text files on a Debian machine with this repository's packages: licences and documentation.
FOLDERS = (Path("/usr/share/common-licenses"), Path("/usr/share/doc"))
NAMES = re.compile(r"(?i)(copyright|licen[cs]e.*|notice.*|readme.*|news.*|authors|.*\.(txt|md|rst))")
MAX_BYTES, MAX_FILE = 8_800_000, 400_000
CONTEXT = 7  # bytes of the n-gram's history, the most that its numbers hold
# The longer setting: passes over the text instead of 400 batches, with a larger network.
LONGER = (
    "datamodule.context=256", "datamodule.epoch_batches=1000", "trainer.max_epochs=10", "model.network.width=256",
    "model.network.layers=6",
)  # fmt: skip
PACKAGES = ("scipy", "sklearn", "torch", "pandas", "matplotlib", "statsmodels", "networkx", "sympy")
MAX_DOCSTRINGS = 400  # of each package
OWN_NAMES = re.compile(
    r"(?i)\b(scipy|sklearn|scikit-learn|torch|pytorch|pandas|pd|matplotlib|plt|statsmodels|networkx|nx|sympy)\b"
)


# A language model


def write_licences(folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Copy distinct UTF-8 files in the order of the hashes of their contents, until `max_bytes` are reached."""
    packages = find_spec("numpy")
    roots = [*FOLDERS, *([Path(packages.origin).parents[1]] if packages and packages.origin else [])]
    found: dict[str, bytes] = {}
    for path in (each for root in roots for each in root.rglob("*") if NAMES.fullmatch(each.name)):
        if path.is_file() and 200 < path.stat().st_size < MAX_FILE:
            content = path.read_bytes()
            try:
                content.decode()
            except UnicodeDecodeError:
                continue
            found[hashlib.sha256(content).hexdigest()] = content
    folder.mkdir()
    written = 0
    for key in sorted(found):
        if written + len(found[key]) > max_bytes:
            break
        (folder / f"{key[:16]}.txt").write_bytes(found[key])
        written += len(found[key])


def baselines(context: Context) -> Any:
    """Return the module `_baselines.py` of the language modelling starter."""
    root = context.template / "{{cookiecutter.project_slug}}" / "_starters" / "language_modeling"
    spec = importlib.util.spec_from_file_location("language_baselines", root / "_baselines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loaded(project: Path, run: Path) -> tuple[Any, Any]:
    """Return the model and the datamodule of a run, set up for its test."""
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    package: Any = importlib.import_module(f"package_{project.name}")
    model, data = package.load_run(run)
    data.trained = model.hparams
    data.setup("test")
    return model, data


def licences(context: Context, longer: bool = False, max_bytes: int = MAX_BYTES) -> list[Score]:
    """Bits per byte of held-out files, beside an interpolated modified Kneser-Ney n-gram over bytes.

    The n-gram counts all training files, and is scored on the same test files. Its order is the best on the files of
    validation.
    """
    project, folder = rendered(context, "language_modeling"), context.folder / "licences"
    if not folder.exists():
        write_licences(folder, max_bytes)
    words = ["datamodule=text", f"datamodule.root={folder}", "callbacks=[default]", *(LONGER if longer else ())]
    label = "longer" if longer else "licences"
    runs = [trained(project, f"{label}_{seed}", [*words, f"seed={seed}"]) for seed in context.seeds]
    values = [json.loads((run / "metrics.json").read_text())["test"]["bits_per_byte"] for run in runs]
    module, data = baselines(context), loaded(project, runs[0])[1]
    train, val, test = ([each.read() for each in data.documents[name]] for name in ("train", "val", "test"))
    order = min(range(3, CONTEXT + 1), key=lambda n: module.bits_per_byte(train, val, n, module.kneser_ney))
    bits = module.bits_per_byte(train, test, order, module.kneser_ney)
    tool = f"{order + 1}-gram, modified Kneser-Ney"
    return [Score("bits per byte", values, {tool: bits}, round(0.95 * bits, 3), higher_is_better=False)]


# Classes of texts


def docstrings(package: str) -> list[str]:
    """Return distinct docstrings of a package in random order, without the names of the packages in them."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    texts: set[str] = set()
    for path in sorted(Path(found.origin).parent.rglob("*.py")):
        if "test" in path.as_posix():
            continue
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        described = (ast.get_docstring(each) for each in nodes if isinstance(each, ast.FunctionDef | ast.ClassDef))
        texts.update(OWN_NAMES.sub("x", text) for text in described if text and len(text) > 60)
    return random.Random(0).sample(sorted(texts), min(MAX_DOCSTRINGS, len(texts)))


def docstrings_by_package(context: Context) -> list[Score]:
    """Accuracy with which the package is told from a docstring, beside TF-IDF and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    project, path = rendered(context, "language_modeling"), context.folder / "docstrings.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [("text", "label"), *((text, package) for package in PACKAGES for text in docstrings(package))]
        csv.writer(file).writerows(rows)
    words = ["experiment=classification", f"datamodule.root={path}"]
    runs = [trained(project, f"docstrings_{seed}", [*words, f"seed={seed}"]) for seed in context.seeds]
    values = [json.loads((run / "metrics.json").read_text())["test"]["accuracy"] for run in runs]
    data = loaded(project, runs[0])[1]
    texts = {name: [*zip(*(row.texts for row in part), strict=True)] for name, part in data.rows.items()}
    vectors = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    model = make_pipeline(vectors, LogisticRegression(C=10, max_iter=1000))
    model.fit([*texts["train"][0], *texts["val"][0]], [*texts["train"][1], *texts["val"][1]])
    accuracy = float(model.score(*texts["test"]))
    return [Score("accuracy", values, {"TF-IDF and logistic regression": accuracy}, round(accuracy, 3))]
