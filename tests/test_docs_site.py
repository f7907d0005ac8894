"""The documentation site: it builds without a warning and without a network, and fetches nothing when it is read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs_blocks import PAGES, ROOT
from tests.test_report_browser import CHROMIUM, DRIVER, chromium

pytestmark = pytest.mark.slow

LEADS = ("index", "search", "next", "prev", "author", "top")
"""What a <link> is to a page that it leads to; all others are loaded."""
NO_NETWORK = """
import socket


def refused(*_):
    raise OSError("the documentation is built without a network")


socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused
"""


class Page(HTMLParser):
    """What a page loads, what it leads to, and the names that can be led to."""

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.loads, self.goals, self.names, self.words = [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        if "id" in told:
            self.names.add(told["id"])
        leads = tag == "a" or (
            tag == "link" and told.get("rel") in ("index", "search", "next", "prev", "author", "top")
        )
        if leads and "href" in told:
            self.goals.append(told["href"])
        else:
            self.loads += [told[name] for name in ("src", "href", "data", "poster") if told.get(name)]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as ``make docs`` builds it."""
    for name in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(name, reason=f"the tool {name} is not installed: pip install 'ds2prof[docs]'")
    folder = tmp_path_factory.mktemp("site")
    (folder / "hooks").mkdir()
    (folder / "hooks" / "sitecustomize.py").write_text(NO_NETWORK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "hooks"), str(ROOT)])}
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(folder / "doctrees"), "docs"]
    done = subprocess.run(
        [*command, str(folder / "html")], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def read(site):
    """Name of a page of the site -> the page."""
    return {path.name: Page(path) for path in site.glob("*.html")}


def test_every_page_of_the_documentation_is_a_page_of_the_site(read):
    wanted = {f"{page.stem}.html" for page in PAGES if page.parent.name == "docs"}
    assert wanted <= set(read)
    for name in wanted:
        assert "<!-- here" not in "".join(read[name].words)


def test_pages_load_nothing_from_elsewhere(site, read):
    for name, page in read.items():
        assert not [load for load in page.loads if re.match(r"([a-z]+:)?//", load)], name
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", text), sheet.name


def test_links_and_anchors_of_the_site_lead_somewhere(site, read):
    for name, page in read.items():
        for goal in page.goals:
            if re.match(r"[a-z]+:", goal) or goal in ("#", ""):
                continue
            path, _, anchor = unquote(goal).partition("#")
            assert not path or (site / path).exists(), f"{name}: {goal}"
            if anchor and (path or name).endswith(".html"):
                assert anchor in read[path or name].names, f"{name}: {goal}"


def test_the_site_has_the_help_of_commands_and_the_docstrings(read):
    assert "Usage: ds2prof summary [OPTIONS] FILE..." in "".join(read["COMMANDS.html"].words)
    assert {"ds2prof.read", "ds2prof.api.Profile.ledger", "ds2prof.report.plots.ledger"} <= read["API.html"].names
    assert "kernels" in "".join(read["API.html"].words)


def test_every_page_is_in_the_contents_and_can_be_searched_for(site, read):
    contents = set(read["index.html"].goals)
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    for page in PAGES:
        if page.parent.name == "docs" and page.stem != "index":
            assert f"{page.stem}.html" in contents
            assert f'"{page.stem}"' in index


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("the tool Chromium (with chromedriver) is not installed")
    pytest.importorskip("selenium", reason="the tool selenium is not installed")
    with chromium() as driver:
        yield driver


@pytest.mark.parametrize("page", ["FIRST_STEPS", "COMPARISON"])
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)])
def test_a_page_fits_the_window_and_complains_of_nothing(site, browser, page, theme, width):
    """Screenshots are kept under ``build/artifacts``, which git ignores: somebody should look at them."""
    themed = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", themed)
    metrics = {"width": width, "height": 1400, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get((site / f"{page}.html").as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (theme == "dark")
    folder = ROOT / "build" / "artifacts" / "site"
    folder.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(folder / f"{page.lower()}_{theme}_{width}.png"))
