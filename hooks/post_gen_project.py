"""Lay the chosen starter and the chosen options over the rendered root, and say what comes next."""

import re
import shlex
import shutil
import sys
from pathlib import Path

SLUG = {{ cookiecutter.project_slug | tojson }}
STARTER = Path("_starters", {{ cookiecutter.starter | tojson }})
PACKAGE = {{ cookiecutter.package_name | tojson }}
NEEDED = STARTER / "_requirements.txt"  # what the starter imports beside; pre_gen_project.py knows what all import
SHARED = STARTER / "_uses.txt"  # names the folders of _shared/ that the starter needs, one a line
# Folders that hold what one answer adds, with the layout of the root that they are laid over.
OVERLAYS = [
    *(Path("_shared", name) for name in (SHARED.read_text().split() if SHARED.exists() else ())),
    STARTER,
    Path("_options", "license", {{ cookiecutter.license | tojson }}),
    Path("_options", "ci", {{ cookiecutter.ci | tojson }}),
    Path("_options", "container", {{ cookiecutter.container | tojson }}),
]


def lay(overlay: Path, root: Path) -> None:
    """Move each file of `overlay` to its place below `root`; `_*` at its top are parts of other files."""
    for source in sorted(path for path in overlay.rglob("*") if path.is_file()):
        if source.parent == overlay and source.name.startswith("_"):
            continue
        target = root / source.relative_to(overlay)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def main() -> None:
    root = Path.cwd()
    needed = re.findall(r"^[\w-]+", NEEDED.read_text() if NEEDED.exists() else "", re.MULTILINE)
    if PACKAGE in {name.lower().replace("-", "_") for name in needed}:
        sys.exit(f"Kindling: package_name {PACKAGE!r} would hide a package of that name: add a word, '{PACKAGE}_project' say.")
    for overlay in OVERLAYS:
        lay(root / overlay, root)
    for folder in ("_starters", "_shared", "_options"):
        shutil.rmtree(root / folder, ignore_errors=True)
    print(f"\n{SLUG} is ready. Next, best within a virtual environment:\n")
    print(f"    cd {shlex.quote(str(root))}")
    print('    pip install -c constraints.txt -e ".[dev]"')
    print("    python train.py\n")


if __name__ == "__main__":
    main()
