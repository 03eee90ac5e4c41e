"""Lay the chosen starter and the chosen options over the rendered root, and say what comes next."""

import shlex
import shutil
from pathlib import Path

SLUG = {{ cookiecutter.project_slug | tojson }}
STARTER = Path("_starters", {{ cookiecutter.starter | tojson }})
SHARED = STARTER / "_uses.txt"  # names the folders of _shared/ that the starter needs, one a line
# Folders that hold what one answer adds, with the layout of the root that they are laid over.
OVERLAYS = [
    *(Path("_shared", name) for name in (SHARED.read_text().split() if SHARED.exists() else ())),
    STARTER,
    Path("_options", "license", {{ cookiecutter.license | tojson }}),
    Path("_options", "ci", {{ cookiecutter.ci | tojson }}),
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
