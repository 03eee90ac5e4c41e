"""Take the screenshots in docs/ from a real run of the tutorial: python docs/screenshots.py

Needs the packages of tests/requirements.txt, selenium, and of Debian tmux and chromium-driver. Trains for some minutes.
"""

import html
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

from cookiecutter.main import cookiecutter
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

DOCS = Path(__file__).resolve().parent
WIDTH, GAP = 1200, 16  # pixels
COLUMNS, LINES = 118, 40  # of the terminal
PROMPT = r"^\$\Z"
STYLE = "margin: 0; padding: 14px; background: #1e1e1e; color: #ddd; font: 16px/22px 'DejaVu Sans Mono', monospace"
CURVES = {"tagFilter": "^(train|val)/(loss|accuracy)$", "runFilter": "scans(-linear)?/", "smoothing": 0}


class Terminal:
    """A shell in a terminal of its own: type commands into it, and read its screen."""

    def __init__(self, folder: Path) -> None:
        self.tmux = ("tmux", "-L", f"screenshots-{os.getpid()}")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = ("env", "PS1=$ ", f"PATH={path}", "TERM=xterm-256color", "bash", "--norc")
        size = ("-x", str(COLUMNS), "-y", str(LINES))
        subprocess.run([*self.tmux, "new-session", "-d", *size, "-c", folder, *shell], check=True)
        self.wait(PROMPT)

    def type(self, *keys: str, until: str = PROMPT) -> str:
        """Press keys, wait until the screen ends in a pattern, and return the screen."""
        subprocess.run([*self.tmux, "send-keys", *keys], check=True)
        time.sleep(1)  # until the prompt is gone
        return self.wait(until)

    def wait(self, pattern: str) -> str:
        while True:
            done = subprocess.run([*self.tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True)
            screen = done.stdout.rstrip()
            if re.search(pattern, screen, re.MULTILINE):
                return screen
            time.sleep(0.2)

    def close(self) -> None:
        subprocess.run([*self.tmux, "kill-server"], check=True)


def photograph(url: str, output: Path, width: int, height: int, awaited: str, count: int = 1) -> None:
    """Save a page as a PNG of WIDTH, from a window of `width` × `height`, when `count` elements are there."""
    options = webdriver.ChromeOptions()
    for word in ("--headless", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(word)
    with webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver")) as browser:
        metrics = {"width": width, "height": height, "deviceScaleFactor": WIDTH / width, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(url)
        WebDriverWait(browser, 120).until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, awaited)) >= count)
        page = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    page.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(output, optimize=True)


def draw_screen(screen: str, output: Path) -> None:
    """Draw the text of a terminal."""
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as page:
        page.write(f'<meta charset="utf-8"><body style="margin: 0"><pre style="{STYLE}">{html.escape(screen)}</pre>')
        page.flush()
        photograph(f"file://{page.name}", output, width=1165, height=28 + 22 * len(screen.splitlines()), awaited="pre")


def join(rows: list[list[Path]], output: Path) -> None:
    """Place plots in rows of the same width."""
    lines = []
    for row in rows:
        plots = [Image.open(path).convert("RGB") for path in row]
        height = (WIDTH - GAP * (len(row) - 1)) / sum(plot.width / plot.height for plot in plots)
        lines.append([plot.resize((int(plot.width * height / plot.height), int(height))) for plot in plots])
    sheet = Image.new("RGB", (WIDTH, sum(line[0].height + GAP for line in lines) - GAP), "white")
    y = 0
    for line in lines:
        x = 0
        for plot in line:
            sheet.paste(plot, (x, y))
            x += plot.width + GAP
        y += line[0].height + GAP
    sheet.save(output, optimize=True)


def draw_tensorboard(project: Path, output: Path) -> None:
    """Serve the runs with TensorBoard, and photograph its curves of two of them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = ("-m", "tensorboard.main", "--logdir", "runs", "--port", str(port))
    server = subprocess.Popen([sys.executable, *words], cwd=project, stderr=subprocess.PIPE, text=True)
    try:
        next(line for line in server.stderr or () if "http://" in line)
        query = urlencode({"darkMode": "false", "forceSVG": "true", **CURVES})
        url = f"http://localhost:{port}/?{query}#timeseries"
        photograph(url, output, width=1500, height=1020, awaited="line-chart path", count=8)
    finally:
        server.terminate()
        server.wait()


def write_files(project: Path) -> None:
    """Write the files of the tutorial: each block that begins with a path."""
    tutorial = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"```\w+\n# (\S+\.(?:py|yaml))\n(.*?)```", tutorial, re.DOTALL):
        (project / name).write_text(text, encoding="utf-8")


def take_screenshots(project: Path) -> None:
    write_files(project)
    plots = {run: project / "runs" / run / "plots" for run in ("hello", "scans-linear")}
    terminal = Terminal(project)
    try:
        draw_screen(terminal.type("python train.py name=hello", "Enter"), DOCS / "train.png")
        terminal.type("python make_scans.py", "Enter")
        terminal.type("python train.py datamodule=scans name=scans", "Enter")
        terminal.type("python train.py model=linear datamodule=scans name=scans-linear", "Enter")
        terminal.type("clear", "Enter")
        folds = "python train.py model=linear datamodule=scans folds=5 name=scans-linear-cv"
        screen = terminal.type(folds, "Enter")
        draw_screen(screen[screen.index("Fold 5 of 5") :], DOCS / "folds.png")
        terminal.type("clear", "Enter")
        long = "python train.py datamodule=scans trainer.max_epochs=200 name=scans-long"
        terminal.type(long, "Enter", until="Epoch 9")
        terminal.type("C-c")
        draw_screen(terminal.type(long, "Enter", until="Epoch 1[5-9]"), DOCS / "resume.png")
    finally:
        terminal.close()
    names = ("confusion_matrix.png", "worst_mistakes.png")
    join([[plots["hello"] / "learning_curves.png"], [plots["hello"] / name for name in names]], DOCS / "run.png")
    join([[plots["scans-linear"] / name for name in names]], DOCS / "mistakes.png")
    draw_tensorboard(project, DOCS / "tensorboard.png")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        answers = {"logger": "tensorboard"}
        take_screenshots(Path(cookiecutter(str(DOCS.parent), no_input=True, extra_context=answers, output_dir=folder)))
