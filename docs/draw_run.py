"""Join a run's plots into one image for the README: python docs/draw_run.py demo/my-project/runs/demo docs/run.png"""

import sys
from pathlib import Path

from PIL import Image

GAP = 16


def draw_run(run: Path, output: Path) -> None:
    """Place the learning curves on top, and confusion matrix and worst mistakes side by side below."""
    curves, confusion, mistakes = (
        Image.open(run / "plots" / f"{name}.png").convert("RGB")
        for name in ("learning_curves", "confusion_matrix", "worst_mistakes")
    )
    width = curves.width
    side = (width - GAP) // 2
    confusion.thumbnail((side, side))
    mistakes = mistakes.resize((side, round(mistakes.height * side / mistakes.width)))
    below = max(confusion.height, mistakes.height)
    sheet = Image.new("RGB", (width, curves.height + GAP + below), "white")
    sheet.paste(curves, (0, 0))
    sheet.paste(confusion, (0, curves.height + GAP))
    sheet.paste(mistakes, (width - side, curves.height + GAP + (below - mistakes.height) // 2))
    sheet.save(output, optimize=True)


if __name__ == "__main__":
    draw_run(Path(sys.argv[1]), Path(sys.argv[2]))
