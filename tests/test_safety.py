"""Reading is safe: no network, no file written, no program started, nothing unpickled or evaluated."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import GOLDEN

ROOT = Path(__file__).resolve().parents[1]
WATCH = """
import contextlib, io, os, sys, tempfile
from pathlib import Path
from ds2prof.cli import main

temporary, seen = tempfile.gettempdir(), []

def watch(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.")) or event in ("pickle.find_class", "os.system"):
        seen.append((event, str(arguments)))
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        seen.append((event, str(arguments)))
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not arguments[0].startswith((temporary, "/dev/")):
            seen.append((event, str(arguments)))

sys.addaudithook(watch)
for path in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(SystemExit):
            main(["parse", path])
print(*seen, sep="\\n")
"""


def inputs(*excluded):
    return [str(path) for path in sorted(GOLDEN.glob("*/*/input*")) if path.parent.parent.name not in excluded]


def test_reading_opens_no_socket_writes_no_file_and_starts_no_program():
    # Reports of Nsight are read by the vendor's own code, in a process of its own. (-B: Python writes no bytecode.)
    found = subprocess.run(
        [sys.executable, "-B", "-c", WATCH, *inputs("nsys_rep", "ncu_rep")],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert found.stdout.strip() == ""


def test_everything_is_read_where_there_is_no_network_interface():
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("tool unshare cannot make a network namespace here")
    command = [sys.executable, "-m", "ds2prof", "parse", *inputs("nsys_rep"), "--format", "json"]
    found = [
        subprocess.run([*before, *command], capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
        for before in ([], [unshare, "-rn"])
    ]
    with_network, without = [(one.returncode, one.stdout, one.stderr) for one in found]
    assert without == with_network
    assert '"schema": "ds2prof/1"' in without[1]
