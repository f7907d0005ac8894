"""The documentation holds: its commands run, what it shows comes out, its links lead somewhere, the site builds."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import click
import pytest

from ds2prof import cli as command_line
from ds2prof.cli import cli
from ds2prof.report.glossary import GLOSSARY
from tests import docs_blocks, docs_refresh, docs_running, docs_sandbox
from tests.docs_blocks import (
    PAGES,
    ROOT,
    SHELL_LABELS,
    Command,
    anchors,
    blocks,
    code_spans,
    commands,
    is_command,
    links,
)
from tests.docs_running import MACHINE, RULES, covered, known_options, parse, words_of


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    return docs_sandbox.template(tmp_path_factory.mktemp("docs"))


@pytest.fixture
def sandbox(example, tmp_path, monkeypatch):
    """A function that makes the sandbox of a page and goes into it."""
    for name, value in docs_sandbox.variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    for name in docs_sandbox.UNSET:
        monkeypatch.delenv(name, raising=False)
    return lambda page: monkeypatch.chdir(docs_sandbox.sandbox(example, page, tmp_path / "sandbox"))


# --- commands --------------------------------------------------------------------------------------------------------

COMMAND_BLOCKS = [block for page in PAGES for block in blocks(page) if commands(block)]
PYTHON_BLOCKS = [block for page in PAGES for block in blocks(page) if block.label in ("python", "py", "pycon")]


@pytest.mark.parametrize("block", COMMAND_BLOCKS, ids=lambda block: block.name)
def test_the_commands_of_a_block_run_and_what_is_shown_comes_out(block, sandbox):
    sandbox(block.page)
    found = commands(block)
    code = 0
    for number, command in enumerate(found):
        if command.text == "echo $?":
            assert list(command.shown or ()) == [str(code)], f"{block.name}: the exit code is {code}"
            continue
        outcome = covered(words_of(command.text), command.text)
        told_next = number + 1 < len(found) and found[number + 1].text == "echo $?"
        code = outcome.exit_code or 0
        if outcome.exit_code is not None and not told_next and not MACHINE.match(command.text):
            assert code == command.exit_code, f"{block.page.name}:{command.line}: exit code {code} of: {command.text}"
        if command.shown:
            assert outcome.exit_code is not None, f"{block.page.name}:{command.line}: shows what is not run here"
            check_shown(block, command, outcome.output)


def check_shown(block, command, output):
    """Hold what a page shows to what came out: exactly, but for '...'; of another machine's output the words alone."""
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    where = f"{block.page.name}:{command.line}"
    if block.is_example:
        have = {" ".join(line.split()) for line in lines}
        for line in command.shown:
            if line.strip() and not re.search(r"\d|^[- ]+$|\.\.\.", line):
                assert " ".join(line.split()) in have, f"{where}: {line!r} does not come out"
        return
    at, skipping = 0, False
    for line in (line.rstrip() for line in command.shown):
        if line.strip() == "...":
            skipping = True
            continue
        pattern = re.escape(line).replace(r"\.\.\.", ".*") + "$"
        places = range(at, len(lines)) if skipping else range(at, min(at + 1, len(lines)))
        place = next((place for place in places if re.match(pattern, lines[place])), None)
        assert place is not None, f"{where}: {line!r} is shown, what comes out is:\n" + "\n".join(lines[at : at + 5])
        at, skipping = place + 1, False
    assert skipping or at == len(lines), f"{where}: more comes out: {lines[at]!r}; end with a line of '...'"


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.name)
def test_python_of_the_pages_runs(block, sandbox, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    sandbox(block.page)
    names = {"paths": sorted(Path("ranks").glob("*.json.gz")), "__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile("\n".join(block.lines), block.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_is_of_commands_or_of_none(page):
    """A block of text with a command line somewhere inside would go unnoticed."""
    for block in blocks(page):
        if block.label in SHELL_LABELS and not commands(block):
            held = [line for line in block.lines if is_command(line) and not line.startswith(("for ", "bash "))]
            assert not held, f"{block.name}: text that holds the command {held[0]!r}; label it text, or put it first"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_sentences_exist_and_have_these_options(page):
    for code in code_spans(page):
        context, command = click.Context(cli, info_name="ds2prof"), cli
        words = [word for word in re.split(r"[\s=]+", code.partition(" | ")[0])[1:] if word]
        while isinstance(command, click.Group) and words:
            names = words[0].strip("{}").split("|")
            below = [command.get_command(context, name) for name in names if re.fullmatch(r"[a-z][a-z-]*", name)]
            assert all(below) or words[0].startswith("-"), f"{page.name}: `{code}`: no command {words[0]}"
            if len(below) != 1:
                break
            command = below[0]
            words = words[1:]
        own_words = words[: words.index("--")] if "--" in words else words
        known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
        asked = {option for word in own_words for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", word)}
        assert isinstance(command, click.Group) or asked <= known, f"{page.name}: `{code}`: no {asked - known}"


def test_every_rule_that_runs_nothing_says_why():
    assert all(rule.reason for rule in RULES if rule.treat is not docs_running.run)


def test_a_command_that_no_rule_covers_fails():
    with pytest.raises(pytest.fail.Exception, match="no rule covers"):
        covered(["unheard-of", "--option"], "unheard-of --option")


def test_an_option_that_is_not_there_fails():
    with pytest.raises(click.ClickException):
        parse(["ds2prof", "train", "--no-such-option"], "")
    with pytest.raises(AssertionError, match="knows no --no-such-option"):
        known_options(["scripts/gpu_campaign.sh", "x", "--no-such-option"], "")


# --- the reader of pages ---------------------------------------------------------------------------------------------


def test_output_that_differs_is_found():
    block = docs_blocks.Block(ROOT / "README.md", 1, "", ("$ ds2prof x", "a 1", "...", "c 3"), "")
    (command,) = commands(block)
    check_shown(block, command, "a 1\nb 2\nc 3\n")
    for wrong in ("a 2\nc 3\n", "a 1\nb 2\n", "a 1\nc 3\nd\n", "b\na 1\nc 3\n"):
        with pytest.raises(AssertionError):
            check_shown(block, command, wrong)


def test_of_another_machine_words_are_held_and_numbers_are_not():
    block = docs_blocks.Block(ROOT / "README.md", 1, "", (), "<!-- output of another run: times differ -->")
    shown = Command("ds2prof x", 1, shown=("phase  calls", "-----  -----", "data  7"))
    check_shown(block, shown, "phase     calls\n----\nh2d  9\n")
    with pytest.raises(AssertionError, match="phase"):
        check_shown(block, shown, "layer  calls\n")


@pytest.mark.parametrize(
    ("shown", "renewed"),
    [
        (("a 1", "b"), ["a 2", "b 3", "c", "d"]),
        (("a 1", "..."), ["a 2", "..."]),
        (("a 1", "...", "c", "..."), ["a 2", "...", "c", "..."]),
        (("a 1", "...", "x", "..."), ["a 1", "...", "x", "..."]),
    ],
)
def test_what_is_shown_can_be_renewed_and_keeps_what_it_leaves_out(shown, renewed):
    assert docs_refresh.renewed(shown, ["a 2", "b 3", "c", "d"]) == renewed


def test_lines_that_go_on_are_one_command_and_comments_are_none():
    lines = ("ds2prof parse a \\", "    --by name   # exit code 1", "", "# alone", "make test  # all")
    found = commands(docs_blocks.Block(ROOT / "README.md", 10, "", lines, ""))
    assert found == [Command("ds2prof parse a --by name", 11, 1), Command("make test", 15)]


def test_anchors_are_those_of_code_hosts(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b` c\n## What, *now*?\n```\n# no heading\n```\n## What now\n## [Linked](x.md) words\n")
    assert anchors(page) == {"a-b-c", "what-now", "what-now-1", "linked-words"}


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{page.name}: {link}: there is no such file"
        assert ROOT in goal.parents or goal == ROOT, f"{page.name}: {link}: leads out of the project"
        if anchor and goal.suffix == ".md":
            assert anchor in anchors(goal), f"{page.name}: {link}: no such heading; there are {sorted(anchors(goal))}"


# --- what is made from the program -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def docs_pages():
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "scripts" / "docs_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_glossary_is_that_of_the_report(docs_pages):
    written = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
    assert written == docs_pages.glossary_page(GLOSSARY), "run: python scripts/docs_pages.py"


def test_the_page_of_commands_has_the_help_of_each(docs_pages):
    made = docs_pages.commands_page((ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8"))
    assert docs_pages.COMMANDS_MARK not in made
    for name in command_line.COMMANDS:
        assert f"## ds2prof {name}\n" in made
        assert f"Usage: ds2prof {name} " in made
    assert "## bash run_profile.sh\n" in made


def test_every_page_is_listed_once_in_the_index(docs_pages):
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[[^\]]+\]\((\w+)\.md\)", index, re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in PAGES if page.parent.name == "docs" and page.stem != "index")
    for name in listed:
        assert re.search(rf"^{name}$", docs_pages.with_tables_of_contents(index), re.MULTILINE)


def test_links_out_of_the_site_are_words_there_and_code_stays(docs_pages):
    text = "See [`a b`](../tests/known) and [x](y.md).\n```\n[a](../b)\n```\n[c](../CONTRIBUTING.md)"
    assert docs_pages.without_links_outside(text) == "See `a b` and [x](y.md).\n```\n[a](../b)\n```\nc"
