"""``ds2prof parse --by rank|collective|straggler`` and ``--dask``: many files, some bad, some workers lost."""

from __future__ import annotations

import csv
import errno
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from click.testing import CliRunner

from ds2prof import parsers
from ds2prof.analysis import ranks
from ds2prof.cli import answering, cluster
from ds2prof.cli.answering import Question, part_of
from ds2prof.cli.parse import BY
from ds2prof.cli.parse import command as parse
from ds2prof.errors import Ds2profError, MissingDataError, UsageError
from ds2prof.parsers import read_all
from tests.ranks_support import Made, write

LATE = [[0, 5_000, 300_000], [0, 250_000, 1_000], [10_000, 0, 4_000], [0, 0, 90_000]]
OFFSETS = [0, 7_654_321, -123_456_789]
FILES = 64

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="the tool Dask (distributed) is not installed"
)


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return write(folder, Made(LATE, OFFSETS))


def ran(*arguments):
    return CliRunner().invoke(parse, [str(argument) for argument in arguments])


@pytest.mark.parametrize("by", answering.RUN_KEYS)
def test_several_files_give_one_object(files, by):
    found = json.loads(ran(*files, "--by", by, "--format", "json").stdout)
    assert (found["schema"], found["by"]) == ("ds2prof/1", by)
    assert found["rows"]
    assert found["source"]["facts"]["files"] == list(map(str, files))
    assert found["totals"]["matched_collectives"] == 4


def test_a_folder_and_an_archive_are_runs_too(files, tmp_path):
    archive = tmp_path / "ranks.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in files:
            tar.add(file, file.name)
    waits = []
    for path in (files[0].parent, archive):
        rows = json.loads(ran(path, "--by", "straggler", "--format", "json").stdout)["rows"]
        waits.append([(row["straggler"], row["waiting"], row["wait_ns"]) for row in rows])
    assert waits[0] == waits[1]
    assert waits[0][0] == (2, 0, 390_000)


def test_the_screen_names_the_straggler_and_the_error(files):
    text = ran(*files, "--by", "straggler").stdout
    assert "3 ranks in 3 files" in text
    assert "clocks aligned within 2 ns" in text
    lines = text.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("straggler "))
    assert lines[head].split()[:3] == ["straggler", "waiting", "calls"]
    assert lines[head + 2].split()[:3] == ["2", "0", "2"]


def test_csv_has_a_row_for_each_rank(files):
    rows = list(csv.DictReader(io.StringIO(ran(*files, "--by", "rank", "--format", "csv").stdout)))
    assert [(row["rank"], row["file"]) for row in rows] == [(str(rank), str(file)) for rank, file in enumerate(files)]


def test_a_file_that_cannot_be_read_is_reported_and_the_rest_answered(files, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"traceEvents": []}')
    done = subprocess.run(
        [sys.executable, "-m", "ds2prof", "parse", *map(str, (files[0], bad, *files[1:])), "--by", "rank"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "3 ranks in 3 files" in done.stdout
    assert [line for line in done.stderr.splitlines() if "bad.json" in line and line.startswith("ds2prof: ")]


def test_a_disk_that_fails_while_one_file_is_read_is_that_files_failure(files, monkeypatch):
    def failing(file, **more):
        if file == str(files[1]):
            raise OSError(errno.EIO, os.strerror(errno.EIO), file)
        yield from read_all(file, **more)

    monkeypatch.setattr(parsers, "read_all", failing)
    parts = [part_of(str(file), question=Question("rank", "json")) for file in files]
    assert [len(part.results) for part in parts] == [1, 0, 1]
    assert [str(error) for error in parts[1].failures] == [f"{files[1]}: cannot be read: Input/output error"]


def test_what_was_cut_off_of_a_file_without_an_answer_is_told(files, tmp_path):
    cut = tmp_path / "cut.json"
    text = files[0].read_text()
    cut.write_text(text[: text.index('"kernel"')])
    done = ran(files[0], cut, *files[1:], "--by", "rank")
    assert isinstance(done.exception, MissingDataError)
    assert "3 ranks in 3 files" in done.stdout
    assert f"ds2prof: warning: {cut}: ends inside its list of events" in done.stderr


def test_the_keys_of_runs_are_those_that_the_analysis_answers():
    assert answering.RUN_KEYS == ranks.KEYS
    assert set(ranks.KEYS) <= set(BY)


def test_one_file_alone_is_a_run_of_one_rank(files):
    found = json.loads(ran(files[0], "--by", "rank", "--format", "json").stdout)
    assert [row["wait_ns"] for row in found["rows"]] == [None]
    assert "one rank alone" in found["warnings"][-1]


def test_workers_without_dask_is_wrong_usage(files):
    assert isinstance(ran(*files, "--workers", "2").exception, UsageError)


def test_a_place_that_is_no_address_is_wrong_usage(files):
    assert isinstance(ran(*files, "--dask", "somewhere").exception, UsageError)


# --- on Dask ---------------------------------------------------------------------------------------------------------


@needs_dask
def test_standard_input_cannot_be_sent_to_other_processes():
    assert isinstance(ran("-", "--dask", "local").exception, UsageError)


@needs_dask
def test_a_scheduler_that_does_not_answer_is_one_line(files, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    error = ran(*files, "--dask", "tcp://127.0.0.1:9").exception
    assert isinstance(error, Ds2profError)
    assert str(error).startswith("--dask tcp://127.0.0.1:9: no scheduler answers")
    assert "\n" not in str(error)


def written_run(folder, count, *, damaged):
    """Traces of one run, of which one is damaged."""
    late = [[(rank * 7919 + step * 104_729) % 200_000 for rank in range(count)] for step in range(40)]
    paths = write(folder, Made(late, [rank * 1_000_003 for rank in range(count)]))
    paths[damaged].write_text('{"traceEvents": []}')
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    return written_run(tmp_path_factory.mktemp("some"), 8, damaged=5)


def tables(parts):
    run = ranks.run_of([lane for part in parts for result in part.results for lane in result.lanes])
    return [ranks.answer(run, by) for by in ranks.KEYS], ranks.run_totals(run)


def ask(file):
    return part_of(file, question=Question("rank", "json"))


@pytest.fixture(scope="module")
def two_workers():
    with cluster.cluster("local", workers=2) as client:
        yield client


def ask_and_take_a_while(file):
    time.sleep(0.1)
    return ask(file)


def killed_midway(client, files, *, after):
    """What each file gave, one of the workers killed when ``after`` of them were done; whether that one is gone."""
    pids = list(client.run(os.getpid).values())
    assert len(pids) == 2
    finished = []

    def done(_):
        finished.append(1)
        if len(finished) == after:
            os.kill(pids[0], signal.SIGKILL)

    parts = cluster.mapped(client, ask_and_take_a_while, files, done=done)
    assert pids[0] not in client.run(os.getpid).values()
    return parts


def assert_same(parts, alone):
    assert tables(parts) == tables(alone)
    failures, wanted = ([[str(error) for error in part.failures] for part in each] for each in (parts, alone))
    assert failures == wanted
    assert sum(map(len, failures)) == 1


@needs_dask
@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_give_the_tables_of_one_process(some, two_workers):
    assert_same(killed_midway(two_workers, some, after=2), [ask(file) for file in some])


@needs_dask
@pytest.mark.slow
@pytest.mark.long
def test_64_traces_on_two_workers_of_which_one_is_killed_give_the_tables_of_one_process(tmp_path, two_workers):
    files = written_run(tmp_path, FILES, damaged=17)
    assert_same(killed_midway(two_workers, files, after=8), [ask(file) for file in files])


def by_name(file):
    return part_of(file, question=Question("name", "json"))


@needs_dask
@pytest.mark.slow
def test_ordinary_questions_are_answered_alike_by_workers(some, two_workers):
    assert cluster.mapped(two_workers, by_name, some[:3]) == [by_name(file) for file in some[:3]]


def deadly(file):
    if file.endswith("rank3.json"):
        os.kill(os.getpid(), signal.SIGKILL)
    return ask(file)


@needs_dask
@pytest.mark.slow
def test_a_file_that_kills_each_of_its_workers_is_given_up_and_the_rest_answered(some, two_workers):
    parts = cluster.mapped(two_workers, deadly, some[:5])
    assert [isinstance(part, Ds2profError) for part in parts] == [False, False, False, True, False]
    assert "rank3.json: 4 workers died over it" in str(parts[3])


@needs_dask
@pytest.mark.slow
def test_the_command_prints_the_same_on_dask(files, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"traceEvents": []}')

    def printed(*more):
        paths = [str(files[0].parent), str(bad)]
        call = [sys.executable, "-m", "ds2prof", "parse", *paths, "--by", "straggler", "--format", "json", *more]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    alone = printed()
    assert alone[0] == 1
    assert printed("--dask", "local", "--workers", "2") == alone
