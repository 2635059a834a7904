"""`covector view`: the page of a pipeline, clicked through in a real browser without a window."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import covector
from covector.tools import cli
from covector.tools.line_diff import line_edits

Result = tuple[int, str, str]
MODEL = """import jax.numpy as jnp
import numpy as np

def layer(x, w):
    z = x @ w
    return jnp.tanh(z)

def loss(x, w1, w2):
    z1 = layer(x, w1)
    z2 = layer(z1, w2)   # </script> & <b>
    return jnp.sum(z2 * z2)

def example_args():
    return {"loss": [np.ones(shape, np.float32) for shape in ((4, 8), (8, 8), (8, 3))]}
"""
PASSES = "linearize{wrt=1},transpose,clean"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def call(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as exit:
            cli.main(arguments)
        return int(exit.value.code or 0), *capsys.readouterr()

    return call


# -- differences -----------------------------------------------------------------------------------


def replayed(old: list[Any], new: list[Any]) -> list[Any]:
    """`new`, made from `old` by the edits."""
    made, i, j = [], 0, 0
    for kind, n in line_edits(old, new):
        if kind == "-":
            i += n
        elif kind == "+":
            made += new[j : j + n]
            j += n
        else:
            assert old[i : i + n] == new[j : j + n]
            made += old[i : i + n]
            i, j = i + n, j + n
    assert (i, j) == (len(old), len(new))
    return made


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_edits_lead_from_one_to_the_other(old: list[int], new: list[int]) -> None:
    assert replayed(old, new) == new


def test_edits_are_few_and_found_fast() -> None:
    old = list(range(50_000))
    new = [-i if i % 100 == 50 else i for i in old]
    edits = line_edits(old, new)
    assert replayed(old, new) == new
    assert sum(n for kind, n in edits if kind == "+") == 500


def test_a_fresh_name_is_no_difference(run: Callable[..., Result], tmp_path: Path) -> None:
    names = zip("abcd", ("sin", "cos", "exp", "tanh"), strict=True)
    lines = "".join(f"  {x}: f32[] = {op} x\n" for x, op in names)
    file = tmp_path / "p.cvir"
    file.write_text(f"func @f(x: f32[]) -> (f32[], f32[]) {{\n{lines}  return c, d\n}}\n")
    status, out, _ = run("view", str(file), "--passes", "dce", "--json")
    data = json.loads(out)
    assert status == 0 and [step["name"] for step in data["steps"]] == ["input", "dce"]
    assert data["steps"][1]["edits"] == [["=", 1], ["-", 2], ["=", 4]]


# -- the page --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    (folder / "model.py").write_text(MODEL)
    file = folder / "out.html"
    with pytest.raises(SystemExit) as exit:
        cli.main(["view", f"{folder / 'model.py'}:loss", "--passes", PASSES, "-o", str(file)])
    assert not exit.value.code
    return file


def test_the_page_stands_by_itself(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"https?:|src=|href=|@import|url\(", text)
    assert text.count("</script>") == 2  # the one of the data, the one of the program
    assert "default-src 'none'" in text


def test_a_pipeline_that_fails_is_shown_as_far_as_it_came(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "p.cvir"
    file.write_text("func @f(x: f32[]) -> (f32[]) {\n  y: f32[] = sin x\n  return y\n}\n")
    status, out, err = run("view", str(file), "--passes", "cse,transpose", "--json")
    steps = json.loads(out)["steps"]
    assert status == 1 and [s["name"] for s in steps] == ["input", "cse", "transpose"]
    assert steps[2]["error"] and steps[2]["error"] in err


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,850"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()


class Page:
    """What a user sees and does."""

    def __init__(self, browser: Any, file: Path) -> None:
        self.browser = browser
        browser.get(f"file://{file}")

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.browser.find_elements("css selector", selector)
        return found

    def __getitem__(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def point_at(self, element: Any) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).move_to_element(element).perform()

    @property
    def chosen(self) -> str:
        return str(self["#rows .chosen"].text)

    @property
    def step(self) -> str:
        return str(self["#steps [aria-current] b"].text)

    def contrast(self, selector: str) -> float:
        """The least ratio of contrast, by WCAG, of such texts with what is behind them."""
        return float(self.browser.execute_script(CONTRAST, selector))


CONTRAST = """
const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
const light = (c) => rgb(c).slice(0, 3).map((v) => { v /= 255;
  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; })
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor;
  if (!/rgba.* 0\\)/.test(c)) return c; } };
return Math.min(...[...document.querySelectorAll(arguments[0])].map((e) => {
  const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05); }));
"""


@pytest.fixture
def shown(browser: Any, page: Path) -> Iterator[Page]:
    opened = Page(browser, page)
    yield opened
    assert not browser.get_log("browser")  # no error, nothing blocked


def test_clicking_through_the_steps(shown: Page) -> None:
    names = [b.text for b in shown.all("#steps b")]
    assert names == ["0 input", "1 linearize{wrt=1}", "2 transpose", "3 fold", "4 cse", "5 dce"]
    shown.all("#steps button")[2].click()
    assert shown.step == "2 transpose" and " ms" in shown["#steps [aria-current]"].text
    assert shown.all("#rows .plus") and shown.all("#rows .minus")
    shown["#mode option[value=none]"].click()
    assert not shown.all("#rows .minus")
    shown["#mode option[value=only]"].click()
    assert "lines without changes" in shown["#rows .gap"].text
    shown["#later"].click()
    assert "func" in shown.chosen


def test_search(shown: Page) -> None:
    shown["#query"].send_keys("TANH")
    assert shown["#found"].text == "2 lines" and len(shown.all("#rows mark")) == 2
    shown["#query"].send_keys("\n")
    assert "tanh" in shown.chosen and shown["#found"].text == "1 of 2 lines"
    first = shown.chosen
    shown["#query"].send_keys("\n")
    assert shown.chosen != first


def test_hovering_tells_type_definition_and_users(shown: Page) -> None:
    (value, *_) = [v for v in shown.all("#rows .v") if v.text == "z2"]
    shown.point_at(value)
    tip = shown["#tip"].text
    assert "z2: f32[4,3]" in tip and "tanh z_1" in tip and "read by 3" in tip
    assert {v.text for v in shown.all("#rows .same")} == {"z2"}


def test_from_equation_to_source_and_back(shown: Page) -> None:
    (place, *_) = [p for p in shown.all("#rows .place") if p.text.endswith(":11")]
    place.click()
    assert shown["#text .chosen"].text.endswith("return jnp.sum(z2 * z2)")
    (line,) = [r for r in shown.all("#text .row") if r.text.endswith("z = x @ w")]
    line.click()
    assert "dot_general" in shown.chosen and len(shown.all("#rows .hit")) == 4
    again = shown.chosen
    line.click()
    assert "dot_general" in shown.chosen and shown.chosen != again


def test_memory_and_graph(shown: Page) -> None:
    shown["#tab-memory"].click()
    assert "peak 256 B" in shown["#timeline"].get_attribute("aria-label")
    shown["#peak button"].click()
    assert "tanh" in shown.chosen
    shown["#timeline"].click()  # its middle
    assert "z2" in shown.chosen
    shown["#tab-graph"].click()
    assert shown["#drawing"].get_attribute("aria-label").startswith("Graph of @loss.primal: 10 n")
    shown.press("g", "c")
    shown.all("#rows .row")[0].click()
    shown["#drawing"].click()  # the node in the middle
    assert "z2: f32[4,3] = tanh" in shown.chosen
    assert shown.browser.execute_script(
        "const c = document.getElementById('drawing');"
        "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size > 4"
    )


def test_by_keyboard_alone(shown: Page) -> None:
    shown.press("[", "[", "[")
    assert shown.step == "2 transpose"
    shown.press("]", "]", "]")
    assert shown.step == "5 dce"
    from selenium.webdriver.common.keys import Keys

    shown.press(Keys.HOME, "j", Keys.ARROW_DOWN)
    assert "tanh z" in shown.chosen
    shown.press(Keys.ENTER)  # to where its operand is made
    assert "dot_general" in shown.chosen
    shown.press("b")
    assert "tanh z" in shown.chosen
    shown.press("u")
    assert "one_minus_square" in shown.chosen
    shown.press("/", *"broadcast", Keys.ENTER, Keys.ESCAPE)
    assert "broadcast_in_dim" in shown.chosen
    shown.press("s", "j", Keys.ENTER)
    assert shown.all("#rows .hit")
    shown.press("m")
    assert shown["#timeline"].is_displayed()
    shown.press("?")
    assert "next difference" in shown["#keys"].text
    shown.press(Keys.ESCAPE)
    assert not shown["#keys"].is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_in_light_and_dark(shown: Page, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    shown.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    shown.all("#steps button")[2].click()
    shown["#query"].send_keys("mul")
    texts = "#rows span, #rows mark, #steps b, #steps small, #text .row, #details div, button"
    assert shown.contrast(texts) >= 4.5


def test_ten_thousand_equations(browser: Any, tmp_path: Path) -> None:
    lines = "".join(
        f"  v{i}: f32[8] = {('exp', 'sin')[i % 2]} v{i - 1}    // m.py:{i % 50 + 1}\n"
        for i in range(1, 10_001)
    )
    text = f"func @f(v0: f32[8]) -> (f32[8]) {{\n{lines}  return v10000\n}}\n"
    covector.parse(text).save(tmp_path / "p.cvir")
    file = tmp_path / "big.html"
    with pytest.raises(SystemExit):
        cli.main(["view", str(tmp_path / "p.cvir"), "--passes", "jvp,clean", "-o", str(file)])
    opened = Page(browser, file)
    assert len(opened.all("#rows .row")) < 200  # only those in sight are there
    assert opened.step.startswith("4") and "func" in opened.chosen
    took = {key: browser.execute_script(PRESS, key) for key in ("[", "[", "End", "m", "g", "]")}
    assert opened.step.startswith("3") and opened["#drawing"].is_displayed()
    assert 0 < max(took.values()) < 1000, took  # milliseconds


PRESS = """
const start = performance.now();
document.getElementById("listing").dispatchEvent(
  new KeyboardEvent("keydown", {key: arguments[0], bubbles: true}));
return performance.now() - start;
"""
