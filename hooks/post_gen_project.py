"""Lay the chosen starter and the chosen options over the rendered root, and say what comes next.

Cookiecutter copies most files as they are (`_copy_without_render`), much faster than it renders all starters; here the
answers are put into those that stay. Imports are few for the same reason: pathlib and shutil take as long as the work.
"""

import fnmatch
import json
import os
import re
import shlex
import sys

ANSWERS = json.loads({{ cookiecutter | tojson | tojson }})
PACKAGE = ANSWERS["package_name"]
STARTER = os.path.join("_starters", ANSWERS["starter"])
# The one kind of tag in files that are copied, written so that it is none here.
TAG = re.compile(r"\{" r"\{ ?cookiecutter\.(\w+) ?\}" r"\}")


def filled(text: str, within_json: bool = False) -> str:
    """`text` with an answer in place of each tag; within the strings of JSON, as JSON writes it."""
    return TAG.sub(lambda tag: json.dumps(ANSWERS[tag[1]])[1:-1] if within_json else ANSWERS[tag[1]], text)


def part(name: str) -> str:
    """A file of the starter that is not laid: `_requirements.txt` names what it imports, `_uses.txt` folders of _shared/."""
    path = os.path.join(STARTER, name)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def files_of(folder: str) -> list[str]:
    """Paths below `folder`, without parts of other files: those whose names at its top begin with `_`."""
    found = [(parent, name) for parent, _, names in os.walk(folder) for name in names]
    return [os.path.join(parent, name) for parent, name in found if not (parent == folder and name.startswith("_"))]


def is_copied(path: str) -> bool:
    """Whether cookiecutter has copied the file without rendering it, by itself or with a folder that holds it."""
    parts = os.path.relpath(path).split(os.sep)
    folders = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatch(folder, filled(pattern)) for folder in folders for pattern in ANSWERS["_copy_without_render"])


def lay(overlay: str) -> None:
    """Move the files of a folder, which has the layout of the root, to their places there."""
    for source in files_of(overlay):
        target = filled(os.path.relpath(source, overlay))
        os.makedirs(os.path.dirname(target) or os.curdir, exist_ok=True)
        os.replace(source, target)


def fill(path: str) -> None:
    """Put the answers into a file; once, for one of them may look like a tag."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    if TAG.search(text):
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(filled(text, path.endswith((".json", ".ipynb"))))


def remove(folder: str) -> None:
    """Remove a folder with all that is in it."""
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            os.unlink(os.path.join(parent, name))
        for name in folders:
            os.rmdir(os.path.join(parent, name))
    os.rmdir(folder)


def main() -> None:
    needed = re.findall(r"^[\w-]+", part("_requirements.txt"), re.MULTILINE)
    if PACKAGE in {name.lower().replace("-", "_") for name in needed}:
        sys.exit(f"Kindling: package_name {PACKAGE!r} would hide a package of that name: add a word, '{PACKAGE}_project' say.")
    shared = [os.path.join("_shared", name) for name in part("_uses.txt").split()]
    options = [os.path.join("_options", question, ANSWERS[question]) for question in os.listdir("_options")]
    options += [f"{option}+{ANSWERS['environment']}" for option in options]  # what another environment needs in its place
    rendered = [path for path in files_of(os.curdir) if not is_copied(path)]  # an answer that looks like a tag stays as it is there
    for overlay in [*shared, STARTER, *options]:
        lay(overlay)
    for folder in ("_starters", "_shared", "_options"):
        remove(folder)
    for path in files_of(os.curdir):
        if path not in rendered:
            fill(path)
    place = "" if ANSWERS["environment"] == "conda" else ", in a virtual environment"
    print(f"\n{ANSWERS['project_slug']} is ready. Next{place}:\n")
    print(f"    cd {shlex.quote(os.getcwd())}")
    print(f"    {ANSWERS['__install']}")
    print("    python train.py\n")


if __name__ == "__main__":
    main()
