"""What a report of 50,000 kernels costs: to make, to send, to open and to sort.

    python benchmarks/report_page.py                         50,000 kernels of some 500 names, as demanglers write them
    python benchmarks/report_page.py --kernels 500000 --runs 9

Generates the trace (``generate_kineto.py``, the same bytes each time), makes the page in a process of its own, and
opens it in headless Chromium (``chromium``, ``chromedriver``, selenium), in a fresh browser each time.
*First paint* is the browser's own figure, from the start of the navigation. *Sorted table* is the time from there until
a click on a heading of the kernels' table, made as soon as the page's script has run, has been drawn: a frame after the
rows are in their new order. Prints a Markdown table of medians, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import generate_kineto  # noqa: E402

CHROMIUM_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
KERNELS_PER_STEP = 242
"""Of the 250 launches of a step in the generated trace the others are copies and sets."""
READY = "return document.readyState === 'complete' && !document.getElementById('theme').hidden"
PAINTS = "return Object.fromEntries(performance.getEntriesByType('paint').map((each) => [each.name, each.startTime]))"
SORT = """
const done = arguments[0];
const head = document.querySelector('#m0-kernels-table thead th[data-column=dur_ns]');
const before = performance.now();
head.querySelector('button').click();
const rows = Array.from(document.querySelectorAll('#m0-kernels-table tbody tr'));
const values = rows.map((row) => Number(row.cells[3].dataset.value));
requestAnimationFrame(() => requestAnimationFrame(() => done({
  click: performance.now() - before, rows: values.length, sorted: head.getAttribute('aria-sort'),
  isSorted: values.every((value, place) => !place || values[place - 1] >= value), navigation: performance.now(),
})));
"""


def made(trace: Path, page: Path) -> tuple[float, float]:
    """(seconds, MiB at most) to make the page, in a process of its own."""
    before = time.perf_counter()
    command = [sys.executable, "-m", "ds2prof", "report", str(trace), "-o", str(page), "--force"]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def opened(page: Path) -> dict[str, Any]:
    """Milliseconds to the first paint and to a sorted table, in a fresh browser."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for option in CHROMIUM_OPTIONS:
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(page.as_uri())
        WebDriverWait(driver, 60, poll_frequency=0.01).until(lambda browser: browser.execute_script(READY))
        found = driver.execute_async_script(SORT)
        assert found["isSorted"]
        loaded = driver.execute_script("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        paints = driver.execute_script(PAINTS)
        return {
            "rows": found["rows"],
            "first paint (ms)": paints["first-paint"],
            "script has run (ms)": loaded,
            "click to sorted (ms)": found["click"],
            "sorted table (ms)": loaded + found["click"],
        }
    finally:
        driver.quit()


def said(values: Sequence[float], digits: int = 0) -> str:
    """The median, with the least and the greatest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=int, default=50_000, help="launches in the trace [50000]")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured [5]")
    parser.add_argument("--page", type=Path, help="keep the page here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trace, page = Path(folder) / "trace.json", options.page or Path(folder) / "report.html"
        generate_kineto.write(trace, max(round(options.kernels / KERNELS_PER_STEP), 1))
        costs = [made(trace, page) for _ in range(options.runs)]
        size_bytes, packed_bytes = page.stat().st_size, len(gzip.compress(page.read_bytes()))
        views = [opened(page) for _ in range(options.runs)]
        print(f"trace: {options.kernels:,} kernels, {trace.stat().st_size / 1e6:.1f} MB; {options.runs} runs\n")
    rows = [
        ("page", f"{size_bytes / 1e6:.2f} MB, {packed_bytes / 1e6:.2f} MB packed by gzip"),
        ("names in its table of kernels", f"{views[0]['rows']:,}"),
        ("to make it, reading the trace included (s)", said([seconds for seconds, _ in costs], 2)),
        ("memory at most (MiB)", said([mib for _, mib in costs])),
        *((name, said([view[name] for view in views])) for name in list(views[0])[1:]),
    ]
    print("| what | median (least to greatest) |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
