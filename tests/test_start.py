"""What a small parse must not load: the command's start is bounded by click and NumPy, not by what others need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

UNNEEDED = (
    *("pandas", "pyarrow", "matplotlib", "torch", "msgspec", "isal", "yaml", "sqlite3", "numpy.ma", "numpy.random"),
    *("importlib.metadata", "subprocess", "multiprocessing", "shutil", "tarfile", "tempfile", "gzip", "lzma", "bz2"),
    *("html", "csv", "json", "xml", "socket", "asyncio", "logging", "unittest", "concurrent.futures", "fractions"),
)
"""What reading another format, capturing or drawing needs, and a small Nsight Compute CSV does not."""


def loaded(root, *arguments):
    """The modules that are loaded when the command ends."""
    code = (
        "import sys\n"
        "from ds2prof.cli import cli\n"
        f"cli.main({list(arguments)!r}, standalone_mode=False)\n"
        "modules = sorted(sys.modules)\n"
        "import json\n"
        "print('\\n' + json.dumps(modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def small_parse(root, golden):
    return loaded(root, "parse", str(golden / "ncu_csv" / "three_launches" / "input.csv"))


@pytest.mark.parametrize("module", UNNEEDED)
def test_a_small_parse_does_not_load(module, small_parse):
    assert module not in small_parse


def test_a_small_parse_loads_the_parser_it_needs_and_no_other(small_parse):
    parsers = {name.split(".")[2].split("_")[0] for name in small_parse if name.startswith("ds2prof.parsers.")}
    assert parsers <= {"ncu", "sources", "foreign", "forked", "range"}


def test_numpy_starts_no_threads_in_a_parse(root, golden):
    file = golden / "ncu_csv" / "three_launches" / "input.csv"
    code = (
        "import os, sys; from ds2prof.cli import cli\n"
        f"cli.main(['parse', {str(file)!r}], standalone_mode=False)\n"
        "print('threads', len(os.listdir('/proc/self/task')))"
    )
    if sys.platform != "linux":
        pytest.skip("threads are counted on Linux, for want of a tool elsewhere")
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "threads 1"
