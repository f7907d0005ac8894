"""Fixtures for all tests: where the corpus of real files is, and a count of what was skipped for want of one."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ds2prof.config import ENV_CORPUS

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

# Tables are as wide as a terminal, and who starts the tests has one of any width.
os.environ["COLUMNS"] = "120"

# How long one example takes says how busy the machine is, not whether the code is right.
settings.register_profile("ds2prof", deadline=None)
settings.load_profile("ds2prof")

# A shell that starts us in the background has us ignore these, and so would every program that a test starts.
for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(ignored) == signal.SIG_IGN:
        signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)


def corpus_folder() -> Path:
    """The folder of real profiler files: ``DS2PROF_CORPUS``, else ``../shared/data`` beside the checkout."""
    return Path(os.environ.get(ENV_CORPUS) or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def corpus() -> Path:
    folder = corpus_folder()
    if not folder.is_dir():
        pytest.skip("no corpus of real profiler files (set DS2PROF_CORPUS)")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(autouse=True)
def _compilations_end_with_their_test() -> Iterator[None]:
    """What a test compiled is forgotten after it, or captures of later tests would take the program for compiled."""
    yield
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is not None and dynamo.counters:
        sys.modules["torch._dynamo"].reset()
        dynamo.counters.clear()
    following = sys.modules.get("ds2prof.inject.following")
    if following is not None:
        following._called = False


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if "corpus" in text:
        return "missing corpus"
    return "missing tool" if "tool" in text else "other reason"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One closing line: how many tests were skipped, and for want of what."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    counted = ", ".join(f"{reasons.get(name, 0)} for a {name}" for name in ("missing corpus", "missing tool"))
    rest = f", {reasons['other reason']} for another reason" if reasons["other reason"] else ""
    terminalreporter.write_line(f"skipped: {counted}{rest}")
