"""A bench to fail captures on: stand-ins for NVIDIA's tools first on the PATH, and a look at all that is left behind.

The stand-ins are in ``tools``. Captures run in this process (:meth:`Bench.capture`, with short patience) or as the
command line (:meth:`Bench.start`), with a temporary folder of their own that has to be empty in the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from ds2prof.capture.job import NOTHING_MORE, Asked
from ds2prof.capture.launchers import Launcher, launcher
from ds2prof.capture.processes import Patience
from ds2prof.config import ENV_CAPTURE
from ds2prof.errors import Ds2profError
from ds2prof.launch import Captured, Echo, capture, plan
from tests.launch_support import NO_GPU, OLD

TOOLS = Path(__file__).parent / "tools"
EXTENSIONS = {"nsight": "csv", "nsys": "nsys-rep", "nvprof": "nvvp", "torch": "json.gz", "smi": "csv"}
NVIDIA = ("nsight", "nsys", "nvprof")
QUICK = Patience(after_signal_s=3, after_term_s=0.3, after_end_s=0.1, after_program_s=0.6)

TRAINING = """
import os, signal, sys, time
value = lambda name: sys.argv[sys.argv.index(name) + 1]
print("training", flush=True)
what = value("--do") if "--do" in sys.argv else "train"
out = open(value("--output"), "w") if "--output" in sys.argv else None
if out:
    out.write("half of a trace"); out.flush()
if what == "exit": raise SystemExit(3)
if what == "raise": raise ValueError("the loss is nan")
if what == "vanish": os._exit(4)
if what == "segfault": os.kill(os.getpid(), signal.SIGSEGV)
if what == "out of memory": os.kill(os.getpid(), signal.SIGKILL)
if what == "wait":
    open(value("--ready"), "w").close()
    time.sleep(300)
if what == "talk":
    for number in range(400_000): print("line", number, "x" * 40)
if what == "detach":
    os.close(1); os.close(2)
    if os.fork(): os._exit(0)
    os.setsid(); time.sleep(300)
"""


@dataclass(frozen=True)
class Left:
    """What a capture left.

    Attributes:
        code: Its exit code.
        message: The error's line; empty where there was none.
        files: Names in the folder of measurements.
        temporary: Names in the temporary folder.
        orphans: Living processes of the capture.
        captured: What it returned.
        shown: What was passed on of the program's output.
    """

    code: int
    message: str
    files: set[str]
    temporary: set[str]
    orphans: list[int]
    captured: Captured | None = None
    shown: str = ""


@dataclass
class Bench:
    """A folder to capture in, and the environment that holds the stand-ins."""

    folder: Path
    environ: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def measurements(self) -> Path:
        return self.folder / "measurements"

    def training(self, *what: str) -> list[str]:
        """The command of a stand-in for our training script, which ``what`` befalls."""
        script = self.folder / "train_profiling.py"
        if not script.exists():
            script.write_text(TRAINING)
        return [sys.executable, "-S", str(script), *(("--do", what[0], *what[1:]) if what else ())]

    def capture(
        self,
        name: str,
        program: Sequence[str],
        fake: str = "",
        *,
        asked: Asked = NOTHING_MORE,
        declared: Launcher | None = None,
        force: bool = False,
        patience: Patience = QUICK,
        path: Path | None = None,
        progress: Callable[[Callable[[], str]], None] | None = None,
    ) -> Left:
        """What a capture in this process leaves."""
        output = path or self.measurements / f"mine.{EXTENSIONS[name]}"
        machine = NO_GPU if name == "torch" else OLD
        shown = BytesIO()
        echo = Echo(shown, shown, progress)
        environ = {**self.environ, "FAKE": fake}
        code, message, captured = 0, "", None
        try:
            planned = plan(declared or launcher(name), list(program), output=output, asked=asked)
            captured = capture(planned, machine=machine, echo=echo, force=force, environ=environ, patience=patience)
        except Ds2profError as error:
            code, message = error.exit_code, str(error)
        return Left(
            code,
            message,
            names(output.parent),
            names(self.folder / "tmp"),
            orphans(os.getpid()),
            captured,
            shown.getvalue().decode(errors="replace"),
        )

    def start(self, *arguments: str, fake: str = "", root: Path, **options: object) -> subprocess.Popen[bytes]:
        """``ds2prof`` in a process of its own."""
        environ = {**self.environ, "FAKE": fake, "PYTHONPATH": str(root)}
        command = [sys.executable, "-m", "ds2prof", *arguments]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(command, env=environ, cwd=self.folder, **options)  # type: ignore[call-overload]
        self.started.append(process)
        return process

    def left_by(self, process: subprocess.Popen[bytes], limit_s: float = 30) -> Left:
        """What a process that was started leaves, once it has ended."""
        out, err = process.communicate(timeout=limit_s)
        said = (err or b"").decode(errors="replace")
        return Left(
            process.returncode,
            said,
            names(self.measurements),
            names(self.folder / "tmp"),
            orphans(process.pid),
            shown=(out or b"").decode(errors="replace"),
        )

    def clean_up(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def bench_in(folder: Path) -> Bench:
    """A bench; its names hold a space and a percent sign."""
    folder = folder / "my 100% bench"
    (folder / "tmp").mkdir(parents=True)
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DS2PROF_", "CUDA_")) and name != "NVPROF_TMPDIR"
    }
    path = f"{TOOLS}:{os.environ['PATH']}"
    return Bench(folder, {**environ, "PATH": path, "TMPDIR": str(folder / "tmp")})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def orphans(starter: int) -> list[int]:
    """The living processes of captures that the process ``starter`` began."""
    mark = f"{ENV_CAPTURE}={starter}-".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            state = folder.joinpath("stat").read_bytes().rpartition(b")")[2].split()[0]
            variables = folder.joinpath("environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if folder.name.isdigit() and state not in b"ZX" and any(each.startswith(mark) for each in variables):
            found.append(int(folder.name))
    return found


def wait_for(condition: Callable[[], object], limit_s: float = 30) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came to that"
        time.sleep(0.02)
