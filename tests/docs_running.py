"""How the commands of the documentation are run: in this process where that can be, else held to their own parsers.

:data:`RULES` is the whole of what is decided: a command that none of them covers fails its test.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from ds2prof import cli as command_line
from ds2prof.cli import cli, run_profile
from tests import docs_example
from tests.docs_blocks import ROOT


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code and standard output; None where nothing was run."""

    exit_code: int | None
    output: str = ""


def run(words: list[str], text: str) -> Outcome:
    """Run a command of ds2prof in this process."""
    return in_process(lambda: command_line.main(own(words)))


TOOLS = {"nsys": "nsys", "nsight": "ncu", "nvprof": "nvprof"}
"""Mode of capture -> the program without which not even its command line can be told."""


def run_dry(words: list[str], text: str) -> Outcome:
    """Ask ``ds2prof run`` or run_profile.sh what it would start; without the tool, hold the words to its options."""
    is_ours = "ds2prof" in words
    given = own(words) if is_ours else words[words.index("run_profile.sh") + 1 :]
    at = given.index("--") if "--" in given else len(given)
    if any(shutil.which(TOOLS[word]) is None for word in given[:at] if word in TOOLS):
        parsed(cli if is_ours else run_profile.command, given if is_ours else given[:at])
        return Outcome(None)
    asked = given if "--dry-run" in given else [*given[:at], "--dry-run", *given[at:]]
    if is_ours:
        return in_process(lambda: command_line.main(asked))
    return in_process(lambda: sys.exit(run_profile.main(asked)))


def run_script(words: list[str], text: str) -> Outcome:
    """Run the module of the tests that the command names."""
    return in_process(lambda: sys.exit(docs_example.main(words[words.index("tests.docs_example") + 1 :])))


def parse(words: list[str], text: str) -> Outcome:
    """Hold a command's words to what ds2prof takes, and run nothing."""
    parsed(cli, own(words))
    return Outcome(None)


def parse_training(words: list[str], text: str) -> Outcome:
    """Hold the words behind train_profiling.py to its options."""
    import train_profiling

    at = next(place for place, word in enumerate(words) if word.endswith("train_profiling.py"))
    parsed(train_profiling.main, words[at + 1 :])
    return Outcome(None)


def known_options(words: list[str], text: str) -> Outcome:
    """Find the script that is named, and each of its long options in the source of it."""
    place = next(place for place, word in enumerate(words) if (ROOT / word).is_file())
    script = ROOT / words[place]
    source = script.read_text(encoding="utf-8")
    folder = script.with_suffix("")
    source += "".join(each.read_text(encoding="utf-8") for each in folder.glob("*.py")) if folder.is_dir() else ""
    source += "".join(each.read_text(encoding="utf-8") for each in script.parent.glob("common.bash"))
    own_words = words[place + 1 :]
    if script.parent.name == "slurm":  # what follows goes to the training that the job starts
        source = " ".join(training_options())
    behind = own_words.index("--") if "--" in own_words else len(own_words)
    for word in own_words[:behind]:
        if word.startswith("--"):
            assert word.partition("=")[0] in source, f"{text}: {script.name} knows no {word}"
    inner = own_words[behind + 1 :]
    return covered(inner, shlex.join(inner), dry=True) if inner else Outcome(None)


def training_options() -> set[str]:
    """The options of both commands that train."""
    import train_profiling

    train = cli.get_command(click.Context(cli), "train")
    assert train is not None
    return {option for command in (train, train_profiling.main) for param in command.params for option in param.opts}


def torchrun(words: list[str], text: str) -> Outcome:
    """Hold what torchrun starts to what it takes."""
    place = (
        words.index("ds2prof") if "ds2prof" in words else next(i for i, w in enumerate(words) if (ROOT / w).is_file())
    )
    inner = words[place:]
    return covered(inner, shlex.join(inner), dry=True)


def external(words: list[str], text: str) -> Outcome:
    """Another profiler around our training script: hold the script's words to its options."""
    return parse_training(words, text)


def target(words: list[str], text: str) -> Outcome:
    """Find the target in the Makefile."""
    made = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert words[1] in made, f"{text}: the Makefile has no target {words[1]}"
    return Outcome(None)


def installed(words: list[str], text: str) -> Outcome:
    """Find each extra that is installed in pyproject.toml."""
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = re.findall(r"^(\w+) = \[", listed.partition("\n[")[0], re.MULTILINE)
    for named in re.findall(r"(?:ds2prof|\.)\[([\w,-]+)\]", text):
        assert set(named.split(",")) <= {*extras}, f"{text}: no extra {named}"
    return Outcome(None)


def left(words: list[str], text: str) -> Outcome:
    """Nothing: the command is the shell's, not ours."""
    return Outcome(None)


@dataclass(frozen=True)
class Rule:
    """What is done with the commands that a pattern finds, and why they are not simply run."""

    pattern: str
    treat: Callable[[list[str], str], Outcome]
    reason: str


RULES = (
    Rule(r"(\S+ )*sbatch ", known_options, "needs Slurm"),
    Rule(r"(\S+=\S+ )*bash deploy/slurm/", known_options, "needs the tools of a cluster"),
    Rule(r"(\S+=\S+ )*deploy/\w+\.sh ", known_options, "starts a container, or binds to processors"),
    Rule(r"scripts/gpu_campaign\.sh ", known_options, "measures for minutes, on a GPU"),
    Rule(r"torchrun ", torchrun, "starts processes that train"),
    Rule(r"nsys profile ", external, "a profiler around minutes of training"),
    Rule(r"(\S+=\S+ )?python (scripts|benchmarks)/\w+\.py", known_options, "takes minutes"),
    Rule(r"python train_profiling\.py", parse_training, "trains for minutes"),
    Rule(r"python -m tests\.docs_example ", run_script, "our own, and run as it is"),
    Rule(r"bash run_profile\.sh", run_dry, "trains for minutes; says what it would run"),
    Rule(r"ds2prof run ", run_dry, "starts a program under a profiler; says what it would run"),
    Rule(r"ds2prof (train|evaluate|transcribe|export-onnx) ", parse, "trains, or needs what training leaves"),
    Rule(r"ds2prof calibrate", parse, "trains for minutes"),
    Rule(r"(\S+=\S+ )?ds2prof bench ", parse, "computes for minutes"),
    Rule(r"ds2prof data download ", parse, "needs a network"),
    Rule(r"ds2prof data speak ", parse, "speaks for minutes, with eSpeak NG"),
    Rule(r"ds2prof data pieces ", parse, "needs a corpus of real size"),
    Rule(r"ds2prof parse .*--dask ", parse, "starts processes, or needs a cluster"),
    Rule(r"ds2prof .*\.nsys-rep", parse, "needs Nsight Systems"),
    Rule(r"(python|ds2prof/bin/python|\S*bin/python)? ?-m venv|pip install", installed, "needs a network"),
    Rule(r"make ", target, "runs for minutes"),
    Rule(r"(\. |cd |git |mkdir |for |echo |cat |sudo |source )", left, "the shell's own, or another program's"),
    Rule(r"(python -m ds2prof|ds2prof|eval \"\$\(ds2prof)\b", run, ""),
)
"""In this order: the first pattern that a command begins with decides."""
MACHINE = re.compile(r"(ds2prof|python -m ds2prof) doctor")
"""Commands whose exit code tells of the machine."""


def covered(words: list[str], text: str, *, dry: bool = False) -> Outcome:
    """What the first rule for a command finds; a command that no rule covers fails."""
    for rule in RULES:
        if re.match(rule.pattern, text):
            return (parse if dry and rule.treat is run else rule.treat)(words, text)
    if not dry:
        pytest.fail(f"{text}: no rule covers this command; add one to RULES, with the reason for not running it")
    return Outcome(None)


def own(words: list[str]) -> list[str]:
    """The words behind ``ds2prof``, up to a pipe, a redirection or the end of a list."""
    start = next(place for place, word in enumerate(words) if word == "ds2prof" or word.endswith("(ds2prof"))
    kept = []
    for word in words[start + 1 :]:
        if word in ("|", "&&", ">", ">>", ";", "2>", "<"):
            break
        kept.append(word)
    return kept


def parsed(command: click.Command, words: list[str]) -> None:
    """Hold words to a command's own parser; what stands for something is left to it as it is."""
    context = None
    given = [word for word in words if word != "..."]
    while isinstance(command, click.Group):
        assert given, f"{command.name}: a group without a command"
        context = click.Context(command, info_name=command.name, parent=context)
        below = command.get_command(context, given[0])
        assert below is not None, f"no command {given[0]!r}"
        command, given = below, given[1:]
    if "--help" not in given:
        command.make_context(command.name, given, parent=context, **command.context_settings)


def in_process(call: Callable[[], object]) -> Outcome:
    """Run, with standard output kept and the exit code told."""
    kept = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    code = 0
    with contextlib.redirect_stdout(kept):
        try:
            call()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
    kept.flush()
    return Outcome(code, kept.buffer.getvalue().decode())


def words_of(text: str) -> list[str]:
    """The words of a command line as bash would have them, with what its variables and patterns stand for."""
    text = re.sub(r'"?\$\((ds2prof [^)]*)\)"?', r"\1", text)
    words = []
    for word in re.findall(r"(?:[^\s\"']|\"[^\"]*\"|'[^']*')+", text):
        quoted = word.startswith("'")
        plain = "".join(shlex.split(word)) if quoted else os.path.expandvars("".join(shlex.split(word)))
        is_pattern = re.search(r"[*?]", word) is not None and word[0] not in "\"'"
        words += (sorted(map(str, Path().glob(plain))) if is_pattern else []) or [plain]
    return words
