"""Refuse invalid answers with one line. Cookiecutter then removes the folder that it created."""

import json
import keyword
import os
import re
import sys
import unicodedata

QUESTIONS = ("project_name", "project_slug", "package_name", "description", "author_name", "author_email")
# Encoded twice: characters beyond the basic plane arrive as surrogate pairs, which json.loads joins.
GIVEN = json.loads({{ cookiecutter | tojson | tojson }})
# The answers before cookiecutter rendered those given on the command line as templates.
RAW = json.loads({{ (_cookiecutter if _cookiecutter is defined else {}) | tojson | tojson }})
# Names that the rendered repository imports or has in its root, which a package of that name would shadow.
TAKEN = {
    *("torch", "pytorch_lightning", "lightning", "torchmetrics", "torchvision", "hydra", "omegaconf", "numpy", "scipy"),
    *("sklearn", "matplotlib", "PIL", "pil", "rich", "tensorboard", "wandb", "mlflow", "pandas", "yaml", "pytest"),
    *("configs", "test", "tests", "runs", "train", "evaluate", "predict", "data", "docs", "build", "dist", "constraints"),
    *("pip", "setuptools", "hatchling", "ruff", "pyrefly", "xdist", "conftest", "starter", "pydantic", "pydantic_core"),
    *("annotated_types", "typing_extensions", "functorch", "torchgen", "lightning_fabric", "lightning_utilities", "pylab"),
    *("mpl_toolkits", "py", "hydra_plugins", "pydevd_plugins", "antlr4", "psutil", "filelock"),
}
TAGS = ("{" + "{", "{" + "%", "{" + "#")  # split, so that cookiecutter does not render them here
# Addresses that the build backend accepts: dot-atoms of RFC 5322 around one @, with a domain in any script.
EMAIL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*@[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)+")
ROOM = 3_000_000  # bytes that the template takes until the hook has removed the other starters
WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def problem(given: dict[str, str]) -> str | None:
    """Return the reason why the answers are invalid, in one line, or None."""
    answers = {question: given[question] for question in QUESTIONS}
    for question, answer in answers.items():
        if not isinstance(answer, str):  # a replay file is JSON
            return f"{question} is {json.dumps(answer)}: expected text"
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in answer):
            return f"{question} {ascii(answer)} holds a line break or a control character: write it in one line"
    for question in ("project_name", "description", "author_name", "author_email"):
        if any(tag in RAW.get(question, "") for tag in TAGS):
            return f"{question} {RAW[question]!r} holds a template tag, which cookiecutter would run: leave it out, or type it at the prompt"
    for question in ("project_name", "author_name"):
        if not answers[question].strip():
            return f"{question} is empty: give a name, such as 'Deep Finch'"
    email = answers["author_email"]
    if email and not (EMAIL.fullmatch(email) and email.partition("@")[0].isascii()):
        return f"author_email {email!r} is no address, so pip could not install the project: leave it empty, or give one such as ada@example.org"
    if given["environment"] == "conda" and answers["project_slug"].lower() in ("base", "root"):
        return f"project_slug {answers['project_slug']!r} is conda's own environment: add a word, such as '{answers['project_slug']}-project'"
    return slug_problem(answers["project_slug"]) or package_problem(answers["package_name"])


def choice_problem(given: dict[str, str]) -> str | None:
    """Return the reason why an answer is not among the choices, or None: cookiecutter does not check replay files."""
    template = given.get("_repo_dir", "")
    paths = [os.path.join(folder, template, "cookiecutter.json") for folder in ("", os.environ.get("PWD", ""))]
    path = next((path for path in paths if template and os.path.isfile(path)), None)
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        questions = json.load(file)
    for question, choices in questions.items():
        if isinstance(choices, list) and question[0] != "_" and given.get(question) not in choices:
            return f"{question} {given.get(question)!r} is no choice: expected one of {', '.join(choices)}"
    return None


def folder_problem() -> str | None:
    """Return the reason why the folder can't be used, or None: with -f cookiecutter overwrites and removes its files."""
    there = sorted(name for name in os.listdir(os.curdir) if name != ".git")
    if not there:
        return None
    held = f"{', '.join(there[:3])}{' …' if len(there) > 3 else ''}"
    return f"{os.getcwd()} holds files that would be lost ({held}): bring a project up to date by `cruft update`, or render into another folder"


def room_problem() -> str | None:
    """Return the reason why the disk is too full, or None: cookiecutter would leave half a project."""
    if not hasattr(os, "statvfs"):  # Windows
        return None
    disk = os.statvfs(os.curdir)
    if disk.f_bavail * disk.f_frsize < ROOM:
        return f"{os.path.dirname(os.getcwd())} has less than {ROOM / 1e6:.0f} MB free: make room to render, or give another place by -o"
    return None


def slug_problem(slug: str) -> str | None:
    """Return the reason why `slug` can't name a folder and a distribution, or None."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", slug):
        return (
            f"project_slug {slug!r} can't be the name of a folder here: up to 100 letters, digits, '-', '_' and '.', "
            "with a letter or digit at both ends, such as 'deep-finch'"
        )
    if WINDOWS.fullmatch(slug):
        return f"project_slug {slug!r} is a name that Windows keeps for a device: add a word, such as '{slug}-project'"
    normal = re.sub(r"[-_.]+", "_", slug).lower()
    if normal in TAKEN or normal in sys.stdlib_module_names:
        return f"project_slug {slug!r} is the name of a package in use: add a word, such as '{slug}-project'"
    return None


def package_problem(package: str) -> str | None:
    """Return the reason why `package` can't be imported or would shadow another package, or None."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", package) or keyword.iskeyword(package):
        return (
            f"package_name {package!r} can't be imported: up to 40 lower-case letters, digits and '_', with a letter first, "
            "no word of Python's own, such as 'deep_finch'"
        )
    if package in TAKEN or package in sys.stdlib_module_names:
        return f"package_name {package!r} would hide a package or file of that name: add a word, as in '{package}_project'"
    if WINDOWS.fullmatch(package):
        return f"package_name {package!r} is a name that Windows keeps for a device: add a word, as in '{package}_project'"
    return None


if __name__ == "__main__":
    refusal = choice_problem(GIVEN) or problem(GIVEN) or folder_problem() or room_problem()
    if refusal:
        sys.exit(f"Kindling: {refusal}.")
