"""Move the chosen starter and options into the project, fill in the answers, and print the next steps.

Cookiecutter copies most files without rendering (`_copy_without_render`), since rendering all starters is slow; this
hook fills the tags of those that stay. It avoids pathlib and shutil, whose import takes as long as the work.
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
# The only kind of tag in copied files; split, so that cookiecutter does not render it here.
TAG = re.compile(r"\{" r"\{ ?cookiecutter\.(\w+) ?\}" r"\}")


def filled(text: str, within_json: bool = False) -> str:
    """Replace each tag in `text` by its answer, JSON-escaped if `within_json`."""
    return TAG.sub(lambda tag: json.dumps(ANSWERS[tag[1]])[1:-1] if within_json else ANSWERS[tag[1]], text)


def part(name: str) -> str:
    """Read a part of the starter that is not laid: `_requirements.txt` (packages), `_uses.txt` (parts of _shared/)."""
    path = os.path.join(STARTER, name)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def files_of(folder: str) -> list[str]:
    """List the files below `folder`, except those at its top that begin with `_`: they are parts of other files."""
    found = [(parent, name) for parent, _, names in os.walk(folder) for name in names]
    return [os.path.join(parent, name) for parent, name in found if not (parent == folder and name.startswith("_"))]


def is_copied(path: str) -> bool:
    """Return True if cookiecutter copied the file, or a folder that contains it, without rendering."""
    parts = os.path.relpath(path).split(os.sep)
    folders = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatch(folder, filled(pattern)) for folder in folders for pattern in ANSWERS["_copy_without_render"])


def lay(overlay: str) -> None:
    """Move the files of an overlay, a folder with the layout of the root, to their places in the root."""
    for source in files_of(overlay):
        target = filled(os.path.relpath(source, overlay))
        os.makedirs(os.path.dirname(target) or os.curdir, exist_ok=True)
        os.replace(source, target)


def fill(path: str) -> None:
    """Fill the tags of a file, in one pass: an answer may look like a tag."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    if TAG.search(text):
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(filled(text, path.endswith((".json", ".ipynb"))))


def remove(folder: str) -> None:
    """Remove a folder and its contents."""
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
    options += [f"{option}+{ANSWERS['environment']}" for option in options]  # variants for the environment
    rendered = [path for path in files_of(os.curdir) if not is_copied(path)]  # not filled twice: an answer may look like a tag
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
