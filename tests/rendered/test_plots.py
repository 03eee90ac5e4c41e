"""What each plot of a run shows of itself: a title, the run's name, a legend, the best epoch."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from matplotlib.figure import Figure
from matplotlib.text import Text
from starter import SMALL

from my_project.engine.runs.metrics import draw_curves
from my_project.engine.training.folds import draw_folds

BATCHES = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=2"]  # the whole test: forecasts are drawn of all


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures that are saved in the course of a test, by the names of their files."""
    found: dict[str, Figure] = {}
    save = Figure.savefig

    def savefig(self: Figure, path: Any, **options: Any) -> None:
        found[Path(path).stem] = self
        save(self, path, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return found


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


def test_every_plot_has_a_title_a_legend_and_the_name_of_its_run(command: Command, figures: dict[str, Figure]) -> None:
    status, output = command("train.py", "name=drawn", "trainer.max_epochs=2", *BATCHES, *SMALL)
    assert status == 0, output
    assert "could not be drawn" not in output
    drawn = {path.stem for path in (command.folder / "runs" / "drawn" / "plots").glob("*.png")}
    assert figures.keys() == drawn > {"learning_curves"}
    for name, figure in figures.items():
        texts = texts_of(figure)
        assert "run drawn" in texts, name
        assert figure.get_suptitle() or not [axes for axes in figure.axes if axes.get_title()[:1].islower()], name
        assert figure.get_suptitle() or all(axes.get_title() or not axes.axison for axes in figure.axes[:1]), name
        assert not [text for text in texts if "ours" in text.split()], name
        for axes in figure.axes:
            if len(axes.get_legend_handles_labels()[1]) > 1:
                assert axes.get_legend() or figure.legends, name


def test_learning_curves_mark_the_best_epoch_and_a_loss_that_spans_decades(
    tmp_path: Path, figures: dict[str, Figure]
) -> None:
    rows = [{"epoch": n, "step": 9 + 10 * n, "train/loss": 5.0 / 8**n, "val/rise": 1.0 + 99 * n} for n in range(3)]
    draw_curves(rows, tmp_path / "first" / "plots" / "learning_curves.png", {"epoch": 1, "step": 19}, {"rise": "dB"})
    figure = figures["learning_curves"]
    loss, rise = figure.axes
    assert (loss.get_yscale(), rise.get_yscale()) == ("log", "linear")
    assert (loss.get_xlabel(), loss.get_ylabel(), rise.get_ylabel()) == ("optimizer step", "loss", "rise (dB)")
    for axes in (loss, rise):
        mark: Any = axes.get_lines()[-1]
        assert (mark.get_label(), [*mark.get_xdata()]) == ("best epoch (2)", [19, 19])
        legend: Any = axes.get_legend()
        assert legend.get_window_extent().y0 >= axes.get_window_extent().y1 - 1  # above, hiding nothing
        assert not [place for place in axes.get_xticks() if place % 1]
    assert "run first" in texts_of(figure)


@pytest.mark.parametrize("values", [[1.0, 0.1], [0.0, 1.0, 99.0], [float("nan"), float("inf"), -1.0, 50.0]])
def test_a_loss_that_a_logarithm_would_hide_has_a_linear_axis(
    values: list[float], tmp_path: Path, figures: dict[str, Figure]
) -> None:
    rows = [{"epoch": n, "step": n, "train/loss": value} for n, value in enumerate(values)]
    draw_curves(rows, tmp_path / "plots" / "learning_curves.png")
    assert figures["learning_curves"].axes[0].get_yscale() == "linear"


def test_folds_have_a_legend(tmp_path: Path, figures: dict[str, Figure]) -> None:
    table = {f"val/{name}": {"fold_1": 1.0, "fold_2": 2.0, "mean": 1.5, "std": 0.7} for name in ("loss", "a$b$c")}
    draw_folds(table, tmp_path / "cv" / "plots" / "folds.png")
    texts = texts_of(figures["folds"])
    assert {"fold", "mean", "± standard deviation", "Metrics of 2 folds", "run cv"} <= {*texts}
