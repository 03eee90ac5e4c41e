"""The report page in a real browser: it asks for nothing, works by keyboard, and is safe to open."""

import json
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ENGINE_TESTS, ROOT, run
from cookiecutter.main import cookiecutter

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver (.ci/run)")
HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
# The lowest contrast of a text on the page with what is behind it, and this text.
CONTRAST = """
const luminance = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number).map((each) => each / 255)
  .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
  .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
const behind = (node) => {
  for (let each = node; each; each = each.parentElement) {
    const color = getComputedStyle(each).backgroundColor;
    if (!color.endsWith(", 0)")) return color;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || !node.checkVisibility() || node.closest("script, svg, noscript")) continue;
  const [low, high] = [getComputedStyle(node).color, behind(node)].map(luminance).sort((a, b) => a - b);
  found.push([(high + 0.05) / (low + 0.05), node.textContent.slice(0, 40)]);
}
return found.sort((a, b) => a[0] - b[0])[0];
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, user_config: Path) -> str:
    """The address of a page with a group of three seeds, a set of folds, a damaged and a hostile run."""
    folders = runpy.run_path(str(ENGINE_TESTS / "run_folders.py"))
    out = tmp_path_factory.mktemp("report")
    project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=str(out), config_file=str(user_config)))
    for seed in (0, 1, 2):
        folders["write_run"](project / "runs" / f"seed_{seed}", seed=seed)
    for number in (1, 2):
        folders["write_run"](project / "runs" / "cv" / f"fold_{number}", seed=number, lr=0.5)
    values = {"fold_1": 0.5, "fold_2": 0.7, "mean": 0.6, "std": 0.1414}
    folders["write_json"](project / "runs" / "cv" / "folds.json", {"folds": 2, "metrics": {"test/accuracy": values}})
    (folders["write_run"](project / "runs" / "damaged", seed=4) / "status.json").write_text("{")
    hostile = folders["write_run"](project / "runs" / HOSTILE.replace("/", "∕"), seed=5, model=HOSTILE)
    folders["change_json"](hostile / "status.json", monitor=f"val/{HOSTILE}", datamodule=HOSTILE)
    metrics = {"test": {"accuracy": 0.1, "constructor": 1.0, "__proto__": 2.0, HOSTILE.replace("/", ""): 3.0}}
    folders["write_json"](hostile / "metrics.json", metrics)
    (hostile / "metrics.csv").write_text(
        f'epoch,step,val/loss,"val/{HOSTILE.replace("/", "")}",val/toString\n0,9,2,-1,nan\n'
    )
    (hostile / "plots" / "matrix.png").rename(hostile / "plots" / f"{HOSTILE.replace('/', '')}.png")
    done = run(sys.executable, "runs.py", "report", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return (project / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def opened(page: str, browser: Any) -> Iterator[Any]:
    """The browser with the page. At the end: no error in the console, no request but for the page, nothing owned."""
    browser.get(page)
    yield browser
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert page in asked
    assert {url for url in asked if not url.startswith("data:")} == {page}
    assert browser.title == "Runs of my-project"
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x], main script") == []


def names(browser: Any) -> list[str]:
    """Return the first words of the visible rows of the table of runs."""
    rows = browser.find_elements(By.CSS_SELECTOR, "#table tbody tr")
    return [row.find_element(By.CSS_SELECTOR, "th").text[:7] for row in rows if row.is_displayed()]


def legend(browser: Any) -> list[str]:
    return [item.text for item in browser.find_elements(By.CSS_SELECTOR, "#legend li")]


def head(browser: Any, title: str) -> Any:
    return browser.find_element(By.XPATH, f"//table[@id='table']//button[text()='{title}']")


def click(browser: Any, name: str) -> None:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found := browser.find_element(By.ID, name))
    found.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 380])
def test_it_is_readable_in_both_schemes_and_on_a_phone(width: int, scheme: str, opened: Any) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 1000}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened.refresh()
        for details in opened.find_elements(By.CSS_SELECTOR, "summary"):
            opened.execute_script("arguments[0].parentNode.open = true", details)
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
        assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)" if scheme == "light" else "rgb(15, 20, 26)"
        )
        contrast, text = opened.execute_script(CONTRAST)
        assert contrast >= 4.5, text
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_each_control_has_a_name_and_the_focus_is_seen(opened: Any) -> None:
    for control in opened.find_elements(By.CSS_SELECTOR, "button, input, select, [tabindex]"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    opened.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert opened.execute_script("return getComputedStyle(document.activeElement).outlineWidth") == "3px"


def test_the_table_is_sorted_by_a_click_and_by_the_keyboard(opened: Any) -> None:
    assert names(opened) == ["<img sr", "seed_2", "cv", "seed_1", "seed_0", "damaged"]
    head(opened, "test/accuracy").click()
    assert names(opened) == ["<img sr", "cv", "seed_0", "seed_1", "seed_2", "damaged"]
    sorted_by = opened.find_elements(By.CSS_SELECTOR, "#table th[aria-sort]")
    assert [(each.text, each.get_attribute("aria-sort")) for each in sorted_by] == [("test/accuracy", "ascending")]
    head(opened, "test/accuracy").send_keys(Keys.ENTER)
    assert names(opened) == ["seed_2", "seed_1", "seed_0", "cv", "<img sr", "damaged"]


def test_the_filter_finds_words_and_settings(opened: Any) -> None:
    opened.find_element(By.ID, "filter").send_keys("finished model.optimizer.lr=0.5")
    assert names(opened) == ["cv"]
    click(opened, "none")
    click(opened, "all")
    assert opened.find_element(By.ID, "count").text == "1 of 6 chosen, 1 shown"
    assert [item.splitlines()[0] for item in legend(opened)] == ["cv: mean ± std of 2 folds"]


def test_the_chosen_runs_are_shown(opened: Any) -> None:
    click(opened, "none")
    for seed in (0, 2):
        opened.find_element(By.CSS_SELECTOR, f"input[aria-label='Choose seed_{seed}']").send_keys(Keys.SPACE)
    title, *values = legend(opened)[0].splitlines()
    assert title == "A: model.optimizer.lr=0.01: mean ± std of 2 of 3 seeds"
    assert values == ["val", "0.5100 ± 0.0141", "train", "1.0000 ± 0.0000"]
    assert "0.9100 ± 0.0141" in opened.find_element(By.ID, "spread").text
    cells = [row.text for row in opened.find_elements(By.CSS_SELECTOR, "#differing tbody tr")]
    assert cells == ["seed 2 0"]
    assert len(opened.find_elements(By.CSS_SELECTOR, "#figures img")) == 2
    opened.execute_script("data.comparisons.push({metric: 'test/accuracy', text: 'B − A'}); drawResults()")
    assert opened.find_element(By.ID, "verdicts").text.endswith("B − A")
    click(opened, "bands")
    assert [item.splitlines()[0] for item in legend(opened)] == ["seed_2", "seed_0"]
    details = opened.find_elements(By.CSS_SELECTOR, "#each summary")
    details[1].click()
    commands = opened.find_elements(By.CSS_SELECTOR, "#each details[open] code")
    assert [each.text for each in commands] == [
        "python train.py name=seed_0 seed=0 model.optimizer.lr=0.01", "python train.py rerun=runs/seed_0",
    ]  # fmt: skip


def test_the_curves_are_read_and_zoomed_by_keyboard(opened: Any) -> None:
    click(opened, "none")
    opened.find_element(By.CSS_SELECTOR, "input[aria-label='Choose seed_1']").click()
    chart = opened.find_element(By.ID, "chart")
    chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert opened.find_element(By.ID, "at").text.startswith("Values at or near step 19;")
    assert legend(opened) == ["seed_1\nval\n1.5100\ntrain\n2.0000"]
    ends = "return [chart.scales.x.min, chart.scales.x.max]"
    whole = opened.execute_script(ends)
    chart.send_keys("+")
    narrow = opened.execute_async_script(f"setTimeout(arguments[0], 50, (() => {{ {ends} }})())")
    chart.send_keys("0")
    assert whole == [9, 29]
    assert narrow == [14, 24]
    click(opened, "log")
    assert opened.execute_script("return chart.scales.y.distr") == 3
    opened.find_element(By.CSS_SELECTOR, "#x option[value='1']").click()
    assert opened.execute_script("return chart.data[0]") == [0, 1, 2]
    opened.find_element(By.CSS_SELECTOR, "#x option[value='2']").click()
    assert opened.execute_script("return chart.data[0]") == [0.333, 0.667, 1]
    assert opened.execute_script("return entries.map((entry) => entry.best)") == [1, None]


def test_it_prints_in_light_colours_and_returns(opened: Any) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    script = "dispatchEvent(new Event('beforeprint')); return [style('--back'), palette() === LIGHT]"
    assert opened.execute_script(script) == ["#ffffff", True]
    assert opened.execute_script("dispatchEvent(new Event('afterprint')); return palette() === DARK")
    assert len(opened.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 10_000
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_hostile_run_is_shown_as_it_is_written(opened: Any) -> None:
    click(opened, "none")
    opened.find_element(By.CSS_SELECTOR, "input[aria-label^='Choose <img']").click()
    for name in ("metric", "test", "plot"):
        select = opened.find_element(By.ID, name)
        for value in [option.get_attribute("value") for option in select.find_elements(By.TAG_NAME, "option")]:
            opened.execute_script(
                "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))", select, value
            )
    for details in opened.find_elements(By.CSS_SELECTOR, "summary"):
        details.click()
    text = opened.find_element(By.TAG_NAME, "main").text
    assert text.count("<img src=x onerror=document.title='owned'>") > 8
    assert "damaged is damaged: " in text
