"""The report in a real browser: sorting, searching, pointing, themes, paper, and names that would like to run.

Screenshots are kept under ``build/artifacts``, which git ignores: somebody should look at them.
"""

from __future__ import annotations

import base64
import importlib.util
import shutil
from contextlib import contextmanager

import pytest

from ds2prof.parsers import read_all
from ds2prof.report import html
from tests.known.cases import runs
from tests.known.formats import written
from tests.profiles import META, profile
from tests.test_report_numbers import shaped_trace
from tests.test_report_page import HOSTILE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="the tool Chromium (with chromedriver) is not installed"
    ),
    pytest.mark.skipif(importlib.util.find_spec("selenium") is None, reason="the tool selenium is not installed"),
]
RUNS = {run.name: run for run in runs()}
NAMES = [f"{family}_kernel_{number}" for number in range(30) for family in ("sgemm", "softmax", "elementwise")]


@contextmanager
def chromium():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """name -> a page's file."""
    folder = tmp_path_factory.mktemp("pages")
    trace = written(RUNS["communication"], "kineto", folder)
    shaped = shaped_trace(folder / "shapes.json")
    rows = [(name, 0, 7, place * 1000, 100 + 7 * (place * 37 % 90)) for place, name in enumerate(NAMES)]
    many = profile(meta=META, kernels=(("name", "device", "stream", "start_ns", "dur_ns"), rows))
    rows = [(name, 0, 7, place * 1000, 500) for place, name in enumerate(HOSTILE)]
    hostile = profile(meta=META, kernels=(("name", "device", "stream", "start_ns", "dur_ns"), rows))
    made = {
        "trace": list(read_all(str(trace), tables=html.TABLES)),
        "shapes": list(read_all(str(shaped), tables=html.TABLES)),
        "many": [many],
        "hostile": [hostile],
        "several": [*read_all(str(trace), tables=html.TABLES), many],
    }
    files = {}
    for name, profiles in made.items():
        files[name] = folder / f"{name}.html"
        files[name].write_text(html.page(profiles, title=HOSTILE[0] if name == "hostile" else None), encoding="utf-8")
    return files


@pytest.fixture(scope="module")
def artifacts(root):
    folder = root / "build" / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def opened(browser, pages):
    """Opens a page by its name, at a width and in a colour scheme; at the end nothing may stand in the console."""

    def open_page(name, *, width=1200, scheme="light", fragment=""):
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get("about:blank")
        browser.get(f"{pages[name].as_uri()}{fragment}")
        return browser

    browser.get_log("browser")
    yield open_page
    assert browser.get_log("browser") == []


def kept(browser, path, *, height=2200):
    """A screenshot of the page's first so many pixels."""
    size = browser.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], height), "scale": 1}
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True}
    )
    path.write_bytes(base64.b64decode(shot["data"]))
    assert path.stat().st_size > 10_000


def column(browser, table, place):
    script = (
        "return Array.from(document.querySelectorAll(`#${arguments[0]} tbody tr:not([hidden])`),"
        " row => row.cells[arguments[1]].textContent.trim())"
    )
    return browser.execute_script(script, table, place)


def values(browser, table, place):
    script = (
        "return Array.from(document.querySelectorAll(`#${arguments[0]} tbody tr`),"
        " row => Number(row.cells[arguments[1]].dataset.value))"
    )
    return browser.execute_script(script, table, place)


def head(browser, table, name):
    return browser.find_element("css selector", f"#{table} thead th[data-column={name}]")


# ---- tables


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(opened):
    browser = opened("many")
    time = head(browser, "m0-kernels-table", "dur_ns")
    button = time.find_element("tag name", "button")
    button.click()
    assert time.get_attribute("aria-sort") == "descending"
    assert values(browser, "m0-kernels-table", 3) == sorted(values(browser, "m0-kernels-table", 3), reverse=True)
    button.click()
    assert time.get_attribute("aria-sort") == "ascending"
    assert values(browser, "m0-kernels-table", 3) == sorted(values(browser, "m0-kernels-table", 3))


def test_one_column_at_a_time_says_that_it_is_sorted_and_the_sum_stays_below(opened):
    browser = opened("many")
    for name in ("name", "calls", "share"):
        head(browser, "m0-kernels-table", name).find_element("tag name", "button").click()
    sorted_heads = browser.find_elements("css selector", "#m0-kernels-table th[aria-sort]")
    assert [each.get_attribute("data-column") for each in sorted_heads] == ["share"]
    assert browser.find_element("css selector", "#m0-kernels-table tfoot th").text == "all 90 names"


def test_names_are_sorted_as_people_count(opened):
    browser = opened("many")
    head(browser, "m0-kernels-table", "name").find_element("tag name", "button").click()
    browser.find_element("name", "unfold").click()
    found = [name for name in column(browser, "m0-kernels-table", 0) if name.startswith("sgemm")]
    assert found == [f"sgemm_kernel_{number}" for number in range(30)]


def test_sorting_works_by_keyboard(opened):
    from selenium.webdriver.common.keys import Keys

    browser = opened("many")
    button = head(browser, "m0-kernels-table", "dur_ns").find_element("tag name", "button")
    browser.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    assert head(browser, "m0-kernels-table", "dur_ns").get_attribute("aria-sort") == "descending"


def test_rows_beyond_the_first_are_folded_until_asked_for(opened):
    browser = opened("many")
    assert len(column(browser, "m0-kernels-table", 0)) == 40
    unfold = browser.find_element("name", "unfold")
    assert (unfold.text, unfold.get_attribute("aria-expanded")) == ("Show all 90 rows", "false")
    unfold.click()
    assert len(column(browser, "m0-kernels-table", 0)) == 90
    assert unfold.get_attribute("aria-expanded") == "true"


def test_a_search_finds_rows_among_the_folded_and_tells_how_many_and_their_share(opened):
    browser = opened("many")
    search = browser.find_element("css selector", "#m0-kernels form input[type=search]")
    search.send_keys("softmax 2")
    expected = {name for name in NAMES if "softmax" in name and "2" in name}
    found = set(column(browser, "m0-kernels-table", 0))
    assert expected <= found
    assert all(name.startswith("softmax") for name in found)
    told = browser.find_element("css selector", "#m0-kernels form output").text
    assert told.startswith(f"{len(found)} of 90 rows, ")
    assert told.endswith("% of the time")


def test_a_filter_keeps_one_class_and_its_share_is_the_tables(opened):
    from selenium.webdriver.support.ui import Select

    browser = opened("many")
    choice = Select(browser.find_element("css selector", "#m0-kernels form select"))
    assert {option.text for option in choice.options} == {"all", "gemm", "softmax", "elementwise"}
    choice.select_by_visible_text("gemm")
    assert set(column(browser, "m0-kernels-table", 1)) == {"gemm"}
    durations = {name: 100 + 7 * (place * 37 % 90) for place, name in enumerate(NAMES)}
    share = sum(time for name, time in durations.items() if name.startswith("sgemm")) / sum(durations.values())
    told = browser.find_element("css selector", "#m0-kernels form output").text
    assert told == f"30 of 90 rows, {100 * share:.1f} % of the time"


def test_what_is_told_of_a_table_is_told_to_screen_readers_as_it_changes(opened):
    browser = opened("many")
    for output in browser.find_elements("css selector", "form.tools output"):
        assert output.get_attribute("aria-live") == "polite"


# ---- figures


def test_pointing_at_a_mark_tells_what_it_is(opened):
    from selenium.webdriver.common.action_chains import ActionChains

    browser = opened("shapes")
    tip = browser.find_element("id", "tip")
    mark = browser.find_element("css selector", "#m0-roofline-plot .mark")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
    ActionChains(browser).move_to_element(mark).perform()
    assert tip.is_displayed()
    assert "ampere_sgemm_128x64_tn" in tip.text
    assert "FLOP/byte" in tip.text
    ActionChains(browser).move_to_element(browser.find_element("css selector", "#m0-roofline h2")).perform()
    assert not tip.is_displayed()


def test_marks_are_one_stop_for_the_tabulator_key_and_arrows_go_on(opened):
    from selenium.webdriver.common.keys import Keys

    browser = opened("trace")
    marks = browser.find_elements("css selector", "#m0-ledger-bar .mark")
    assert [mark.get_attribute("tabindex") for mark in marks].count("0") == 1
    browser.execute_script("arguments[0].focus()", marks[0])
    first = browser.find_element("id", "tip").text
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    second = browser.find_element("id", "tip").text
    assert first.startswith("computing: ")
    assert second.startswith("exposed communication: ")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not browser.find_element("id", "tip").is_displayed()


# ---- the page


def test_a_definition_is_one_click_away_and_one_key_back(opened):
    from selenium.webdriver.common.keys import Keys

    browser = opened("trace")
    link = browser.find_element("css selector", "#m0-ledger th[data-column=cause] a.def")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", link)
    link.click()
    dialog = browser.find_element("id", "definition")
    assert dialog.is_displayed()
    assert "Blind spot" in dialog.text
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    link.click()
    dialog.find_element("css selector", "button").click()
    assert not dialog.is_displayed()


def test_the_theme_follows_the_system_until_it_is_chosen(opened):
    background = "return getComputedStyle(document.body).backgroundColor"
    browser = opened("trace", scheme="dark")
    dark = browser.execute_script(background)
    button = browser.find_element("id", "theme")
    assert button.text == "Theme: automatic"
    button.click()
    light = browser.execute_script(background)
    assert (dark, light) == ("rgb(20, 24, 29)", "rgb(255, 255, 255)")
    button.click()
    assert browser.execute_script(background) == dark
    button.click()
    assert button.text == "Theme: automatic"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_that_is_shown_stands_out_from_its_background(opened, scheme):
    browser = opened("shapes", scheme=scheme)
    assert browser.execute_script(CONTRAST) == []


CONTRAST = """
const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const channel = (value) => linear(value / 255);
const luminance = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const colour = parse(getComputedStyle(each).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const poor = new Set();
for (const element of document.querySelectorAll("body *:not(svg *):not(script):not(option)")) {
  const own = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.getClientRects().length) continue;
  const pair = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
  const [low, high] = pair.sort((a, b) => a - b);
  if ((high + 0.05) / (low + 0.05) < 4.5) poor.add(`${element.tagName} ${element.className}`);
}
return Array.from(poor);
"""


LINES_OF = """
const range = document.createRange();
range.selectNodeContents(document.getElementById(arguments[0]));
return new Set(Array.from(range.getClientRects(), (each) => each.top)).size;
"""


@pytest.mark.parametrize(
    "name",
    ["several", "hostile", *(pytest.param(name, marks=pytest.mark.long) for name in ("trace", "many", "shapes"))],
)
def test_a_narrow_screen_needs_no_scrolling_to_the_side(opened, name):
    browser = opened(name, width=400)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400


def test_a_long_title_leaves_the_themes_button_on_one_line(opened):
    browser = opened("several", width=500)
    browser.execute_script("document.querySelector('h1').textContent = 'a_long_name_'.repeat(9)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 500
    assert browser.execute_script(LINES_OF, "theme") == 1


def test_a_link_into_a_folded_file_opens_it(opened):
    browser = opened("several", fragment="#m1-kernels")
    assert browser.find_element("id", "m1").get_attribute("open")
    assert browser.find_element("id", "m1-kernels-table").is_displayed()


def test_hostile_names_run_nothing_and_break_nothing(opened):
    browser = opened("hostile")
    assert browser.title.startswith(HOSTILE[0])
    assert browser.execute_script("return document.images.length") == 0
    assert browser.execute_script("return document.scripts.length") == 2
    assert HOSTILE[0] in browser.find_element("id", "m0-kernels-table").get_attribute("textContent")
    search = browser.find_element("css selector", "#m0-kernels form input[type=search]")
    search.send_keys("</script>")
    assert len(column(browser, "m0-kernels-table", 0)) == 1


def test_the_policy_keeps_a_script_out_that_is_not_the_pages(browser, pages, tmp_path):
    text = pages["trace"].read_text()
    broken = tmp_path / "broken.html"
    broken.write_text(
        text.replace("</body>", "<script>document.title='owned'</script><b style='color:red'>x</b></body>")
    )
    browser.get(broken.as_uri())
    assert browser.title != "owned"
    log = browser.get_log("browser")
    assert any("Content Security Policy" in line["message"] for line in log)


def test_without_a_script_everything_is_there_to_be_read(browser, pages, artifacts):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get("about:blank")
        browser.get(pages["many"].as_uri())
        rows = browser.find_elements("css selector", "#m0-kernels-table tbody tr")
        assert len([row for row in rows if row.is_displayed()]) == 90
        assert not browser.find_element("id", "theme").is_displayed()
        assert not browser.find_element("css selector", "form.tools").is_displayed()
        assert browser.find_element("id", "term-share").is_displayed()
        kept(browser, artifacts / "report_without_script.png")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_page_prints_with_what_was_folded(opened, artifacts):
    browser = opened("several", scheme="dark")
    paper = browser.execute_cdp_cmd(
        "Page.printToPDF", {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.69}
    )
    pdf = base64.b64decode(paper["data"])
    (artifacts / "report.pdf").write_bytes(pdf)
    assert pdf.startswith(b"%PDF-")
    assert (
        pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type /Page>") + pdf.count(b"/Type/Page")
        > 2
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browser.find_element("css selector", "nav").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [
        ("trace", "light", 1200),
        ("shapes", "dark", 1200),
        ("shapes", "light", 400),
        pytest.param("shapes", "light", 1200, marks=pytest.mark.long),
        pytest.param("trace", "dark", 1200, marks=pytest.mark.long),
        pytest.param("trace", "light", 400, marks=pytest.mark.long),
    ],
)
def test_screenshots_are_kept(opened, artifacts, name, scheme, width):
    kept(opened(name, width=width, scheme=scheme), artifacts / f"report_{name}_{scheme}_{width}.png", height=5000)
