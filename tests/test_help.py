"""Help of every command: it fits 80 columns and its examples can be typed; pages and completions come from it too."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.cli import COMMANDS, cli
from ds2prof.cli.completion import SHELLS, script
from ds2prof.cli.page_words import KEYS, words_of
from ds2prof.cli.pages import Example, Page, PageGroup, broken, described, manual, terminal_text, walked
from ds2prof.cli.parse import BY
from ds2prof.cli.roff import roff

ROOT = Path(__file__).resolve().parent.parent
PAGES = {ctx.command_path: (ctx, command) for ctx, command in walked(cli, "ds2prof")}
PATHS = list(PAGES)


def page(path):
    ctx, command = PAGES[path]
    return manual(command, ctx)


def examples(path):
    return [part for section in page(path).sections for part in section.parts if isinstance(part, Example)]


def own_words(command):
    """The words behind ds2prof in a shell's line, without what surrounds the command; None where there is none."""
    inner = re.search(r"\$\((ds2prof [^)]*)\)", command)
    line = inner.group(1) if inner else command
    found = re.search(r"(?:\A|\s)(?:-m )?ds2prof\s+(.*)", line)
    if found is None:
        return None
    words = shlex.split(found.group(1))
    ends = [place for place, word in enumerate(words) if word in ("|", "&&", ">", ">>", ";")]
    return [word for word in words[: min(ends, default=len(words))] if word != "..."]


@pytest.mark.parametrize("path", PATHS)
def test_every_command_has_a_page(path):
    assert isinstance(PAGES[path][1], (Page, PageGroup))
    assert page(path).purpose


@pytest.mark.parametrize("path", PATHS)
def test_each_line_of_help_fits_eighty_columns(path):
    ctx, command = PAGES[path]
    assert max(map(len, command.get_help(ctx).splitlines())) <= 80


@pytest.mark.parametrize("path", PATHS)
def test_help_names_each_option_and_what_it_does(path):
    ctx, command = PAGES[path]
    text = command.get_help(ctx)
    for param in command.get_params(ctx):
        if isinstance(param, click.Option) and not param.hidden:
            assert param.opts[-1] in text


@pytest.mark.parametrize("path", [path for path in PATHS if not isinstance(PAGES[path][1], PageGroup)])
def test_help_has_examples_and_exit_codes(path):
    titles = [section.title for section in page(path).sections]
    assert "Exit codes" in titles
    assert "Examples" in titles or path == "ds2prof metrics table"


@pytest.mark.parametrize("path", PATHS)
def test_each_example_names_a_command_and_options_that_exist(path):
    for example in examples(path):
        words = own_words(example.command)
        if words is None:
            continue
        ctx, command = PAGES["ds2prof"]
        while isinstance(command, click.Group):
            name = words.pop(0)
            assert f"{ctx.command_path} {name}" in PAGES, example.command
            ctx, command = PAGES[f"{ctx.command_path} {name}"]
        known = {option for param in command.get_params(ctx) for option in (*param.opts, *param.secondary_opts)}
        own = words[: words.index("--")] if "--" in words else words
        assert {word.partition("=")[0] for word in own if re.match(r"--?[a-z]", word)} <= known, example.command


@pytest.mark.parametrize("path", PATHS)
def test_the_choices_in_examples_are_choices(path):
    for example in examples(path):
        for value in re.findall(r"ds2prof parse .*--by (\S+)", example.command):
            assert value in BY


def test_what_is_named_under_see_also_exists():
    named = {name for path in PATHS for name in words_of(path).see_also}
    assert named - set(PAGES) <= {f"ds2prof {name}" for name in ("report", "sweep", "compare", "plot", "export")} - {
        f"ds2prof {name}" for name in COMMANDS
    }


def test_every_key_of_parse_is_explained():
    assert set(KEYS) == set(BY)
    text = CliRunner().invoke(cli, ["parse", "--help"]).stdout
    assert all(re.search(rf"^  {key}\s+\S", text, re.MULTILINE) for key in BY)


def test_what_stands_far_behind_an_example_says_what_it_is_for():
    assert examples("ds2prof")[1] == Example(
        "ds2prof summary measurements/torch_bs4.json.gz", "the first screen: busy share, largest losses, what to ask"
    )


def test_a_docstring_gives_purpose_paragraphs_blocks_and_codes():
    text = "Do it.\n\n    More\n    words.\n\n    \b\n    ds2prof it\n\n    Exit codes: 0 done, 1 not, and why.\n"
    assert described(text) == ("Do it.", ["More words."], [["ds2prof it"]], "0 done, 1 not, and why.")


WORDS = st.lists(st.sampled_from(["--by", "name", "file.json", "-o", "'a b'", '"$(x y)"', "--force"]), min_size=1)


@given(WORDS, st.integers(30, 80))
def test_a_broken_example_is_the_same_command(words, width):
    command = " ".join(["ds2prof", *words])
    lines = broken(command, width)
    assert max(map(len, lines)) <= width
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(command)


def test_help_of_a_narrow_terminal_is_narrow():
    ctx, command = PAGES["ds2prof parse"]
    assert max(map(len, terminal_text(manual(command, ctx), width=60).splitlines())) <= 60


def test_help_of_a_command_is_what_its_option_prints():
    for words in ([], ["parse"], ["bench", "deepmark"]):
        by_option = CliRunner().invoke(cli, [*words, "--help"], prog_name="ds2prof")
        assert CliRunner().invoke(cli, ["help", *words]).stdout == by_option.stdout


@pytest.mark.parametrize("words", [["nothing"], ["parse", "more"]])
def test_help_of_no_command_is_wrong_usage(words):
    assert CliRunner().invoke(cli, ["help", *words]).exception.exit_code == 2


# --- manual pages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_manual_page_says_what_help_says(path):
    made = roff(page(path), version="0")
    name = path.replace(" ", "-").upper().replace("-", "\\-")
    assert made.startswith(f'.TH "{name}" 1 ')
    for section in page(path).sections:
        assert f'.SH "{section.title.upper()}'.replace("-", "\\-") in made
    assert all(line.isascii() for line in made.splitlines())


def test_man_reads_the_pages_without_complaint(tmp_path):
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff")
    done = CliRunner().invoke(cli, ["man", "-o", str(tmp_path)])
    assert done.exit_code == 0
    files = sorted(tmp_path.glob("*.1"))
    assert len(files) == len(PAGES)
    shown = subprocess.run(
        [groff, "-man", "-ww", "-Tascii", "-P-c", *map(str, files)], capture_output=True, text=True, check=True
    )
    assert shown.stderr == ""
    plain = re.sub(".\b", "", shown.stdout)  # bold is struck twice
    assert plain.count("SYNOPSIS") == len(PAGES)


def test_one_page_goes_to_standard_output():
    done = CliRunner().invoke(cli, ["man", "bench", "deepmark"])
    assert done.stdout == roff(page("ds2prof bench deepmark"), version=__import__("ds2prof").__version__)


def test_a_page_of_no_command_is_wrong_usage():
    assert CliRunner().invoke(cli, ["man", "nothing"]).exception.exit_code == 2


# --- completion ------------------------------------------------------------------------------------------------------


def completed(*words):
    """What a shell is offered for the last word."""
    *before, incomplete = words
    found = ShellComplete(cli, {}, "ds2prof", "_DS2PROF_COMPLETE").get_completions(list(before), incomplete)
    return {item.value if item.type == "plain" else item.type for item in found}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_can_be_read_by_it(shell):
    made = script(shell)
    assert "_DS2PROF_COMPLETE" in made
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    subprocess.run([shutil.which(shell), "-n"], input=made, text=True, check=True)


def test_bash_completes_by_the_script(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    program = tmp_path / "ds2prof"
    # An environment's path may hold spaces, which the first line of a script may not.
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m ds2prof \"$@\"\n")
    program.chmod(0o755)
    asked = (
        f"{script('bash')}\nCOMP_WORDS=(ds2prof parse --by led); COMP_CWORD=3\n"
        f'_ds2prof_completion {program}; echo "${{COMPREPLY[@]}}"'
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "ledger"


def test_keys_formats_presets_and_profilers_are_completed():
    assert completed("parse", "--by", "l") == {key for key in BY if key.startswith("l")}
    assert completed("parse", "--format", "") == {"table", "tbd", "csv", "json", "parquet"}
    assert {"tbd", "tiny", "rnnt"} <= completed("train", "--preset", "")
    assert completed("run", "ns") == {"nsight", "nsys"}
    assert completed("parse", "x", "--color", "a") == {"auto", "always"}


def test_commands_and_options_are_completed():
    assert completed("su") == {"summary"}
    assert completed("bench", "dee") == {"deepmark"}
    assert completed("data", "ver") == {"verify"}
    assert "--by" in completed("parse", "x", "--b")


@pytest.mark.parametrize("command", ["parse", "summary", "join", "report", "export", "sweep", "plot", "transcribe"])
def test_files_are_completed_where_one_is_meant(command):
    if command not in COMMANDS:
        pytest.skip(f"no {command}")
    assert completed(command, "") == {"file"}
