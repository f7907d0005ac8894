"""A short question to another program, and what it said: within a time limit, whatever the program does.

A driver in trouble leaves nvidia-smi in a state in which not even SIGKILL ends it. Whoever asks must not wait for that.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

LIMIT_S: Final = 20.0
_AFTER_KILL_S: Final = 1.0
_LINE_CHARACTERS: Final = 200


@dataclass(frozen=True)
class Reply:
    """What a program said, on both of its streams."""

    state: Literal["ok", "missing", "fails", "hangs"]
    """``fails``: its exit code was not 0; ``hangs``: it was not done within the limit."""
    text: str = ""

    @property
    def answer(self) -> str:
        """The text of a program that ended well; nothing otherwise."""
        return self.text if self.state == "ok" else ""

    @property
    def line(self) -> str:
        """What it said on one line, fit for a message."""
        return " ".join(self.text.split())[:_LINE_CHARACTERS].strip(" .")


def ask(command: Sequence[str], *, limit_s: float = LIMIT_S, environ: Mapping[str, str] = os.environ) -> Reply:
    """What ``command`` says; at most ``limit_s`` and a second later, this is back."""
    try:
        process = subprocess.Popen(  # not as a context: leaving that waits for the end, however long it takes
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(environ),
        )
    except OSError:
        return Reply("missing")
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _abandon(process)
        return Reply("hangs")
    except BaseException:  # Ctrl-C does not reach it in its own session
        _abandon(process)
        raise
    return Reply("ok" if process.returncode == 0 else "fails", said.decode("utf-8", "replace"))


def _abandon(process: subprocess.Popen[bytes]) -> None:
    """Kills the program and what it started; one that cannot be killed is left to itself."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_AFTER_KILL_S)
