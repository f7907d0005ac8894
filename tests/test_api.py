"""What a user of Python meets: profiles that answer, answers that show themselves, and names that complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pandas as pd
import pytest

import ds2prof
from ds2prof import api
from ds2prof.analysis import questions
from ds2prof.analysis.core import core_utilization
from ds2prof.analysis.findings import findings
from ds2prof.analysis.join import join, table
from ds2prof.analysis.ledger import idle_ledger
from ds2prof.analysis.roofline.tables import roofline
from ds2prof.errors import MissingDataError
from ds2prof.schemas import SCHEMAS
from tests.conftest import ROOT
from tests.known.cases import runs
from tests.known.formats import WRITERS
from tests.profiles import profile

KERNEL = ("name", "device", "stream", "start_ns", "dur_ns")
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m&\"'"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    of = {run.name: run for run in runs()}
    for name in ("data_bound", "counters"):
        WRITERS[of[name].formats[0]](of[name], folder / name)
    return folder


@pytest.fixture
def timeline(known):
    return ds2prof.read(known / "data_bound")


@pytest.fixture
def counted(known):
    return ds2prof.read(known / "counters")


def adopted(**tables):
    return ds2prof.Profile.adopt(profile(**tables))


def test_a_profile_that_was_read_answers_as_the_analyses_do(timeline, counted):
    assert counted.core().columns.keys() == questions.answers(counted, "core")[0].columns.keys()
    assert counted.core()["utilization"] == list(core_utilization(counted).columns["utilization"])
    assert timeline.ledger().columns == idle_ledger(timeline).columns
    assert timeline.ledger(per="phase").columns == idle_ledger(timeline, per="phase").columns
    assert list(timeline.findings()) == findings(timeline)
    assert timeline.totals == questions.totals_of(timeline)
    assert timeline.totals["gpu_compute_utilization"] == pytest.approx(42_003 / 149_999)


def test_the_roofline_may_be_asked_by_class(corpus):
    found = ds2prof.read(corpus / "kineto" / "AMD-AGI__TraceLens__h100_bert-small.json.gz")
    assert found.roofline("class").columns == roofline(found, "class").columns


@pytest.mark.parametrize("key", ["name", "class", "launch", "phase", "iteration", "stream", "copy", "wait"])
def test_by_gives_what_parse_prints(timeline, key):
    assert timeline.by(key).columns == questions.answers(timeline, key)[0].columns


def test_a_key_that_is_none_is_refused_with_those_that_are(timeline):
    with pytest.raises(ValueError, match=r"not one of .*ledger"):
        timeline.by("colour")


def test_the_keys_are_those_of_the_command_line():
    assert set(api.BYS) == set(questions.KEYS)


def test_what_a_file_cannot_tell_says_what_to_do(timeline):
    with pytest.raises(MissingDataError, match=r"run_profile\.sh nsight"):
        timeline.core()


def test_several_tables_of_one_question_hang_together(corpus):
    found = ds2prof.read(corpus / "kineto" / "AMD-AGI__TraceLens__h100_bert-small.json.gz")
    with pytest.raises(MissingDataError):
        found.by("fp32")
    answer = api.Answer.of(questions.answers(found, "name")[0], questions.answers(found, "class"))
    assert [other.by for other in answer.others] == ["class"]


def test_the_join_gives_its_table_and_what_did_not_match(known):
    page = ds2prof.read(known / "counters")
    launches = [(name, 0, 7, n * 10_000, 5_000) for n, name in enumerate(page.kernels["name"])]
    shapes = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z")
    line = adopted(kernels=((*KERNEL, *shapes), [(*launch, 64, 1, 1, 256, 1, 1) for launch in launches]))
    answer = line.join(page, sm_clock_hz=1e9)
    assert answer.columns == table(join(line, page, sm_clock_hz=1e9), "core").columns
    assert len(answer.others) == 1


# Tables.


def test_each_table_of_the_model_is_a_dataframe(timeline):
    for name in SCHEMAS:
        assert isinstance(getattr(timeline, name), pd.DataFrame)
    assert timeline.kernels["dur_ns"].sum() == timeline.totals["kernel_dur_ns"]


def test_changing_a_dataframe_changes_no_answer(timeline):
    before = timeline.by("name").columns
    frame = timeline.kernels
    frame["dur_ns"] = 1
    frame.loc[:, "start_ns"] = 0
    assert timeline.kernels["dur_ns"].sum() != 3
    assert timeline.by("name").columns == before


def test_what_a_column_leaves_unknown_is_missing_in_the_dataframe():
    answer = ds2prof.Answer(
        "name", {"name": ["a", None], "calls": [1, 2], "dur_ns": [2**62 + 1, None], "share": [0.5, None]}
    )
    frame = answer.to_pandas()
    assert [str(kind) for kind in frame.dtypes] == ["object", "int64", "Int64", "float64"]
    assert frame["dur_ns"][0] == 2**62 + 1
    assert frame.isna().to_numpy().tolist() == [[False] * 4, [True, False, True, True]]
    assert frame.attrs == {"by": "name", "notes": []}


def test_an_answer_gives_rows_columns_and_its_first_rows():
    answer = ds2prof.Answer("name", {"name": ["a", "b", "c"], "calls": [1, 2, 3]}, ("note",))
    assert list(answer) == answer.rows()
    assert answer["calls"] == [1, 2, 3]
    assert isinstance(answer.head(2), ds2prof.Answer)
    assert answer.head(2).rows() == answer.rows()[:2]
    assert answer.head(2).notes == ("note",)


def test_both_profiles_share_what_was_read():
    inner = profile(kernels=(KERNEL, [("a", 0, 7, 0, 10)]))
    outer = ds2prof.Profile.adopt(inner)
    outer.attach_run({"tag": "x"})
    assert inner.meta.run == {"tag": "x"}
    assert ds2prof.Profile.adopt(outer).by("name").columns == outer.by("name").columns


# How they show themselves.


def test_nothing_of_a_file_reaches_a_notebook_unescaped():
    found = adopted(kernels=(KERNEL, [(HOSTILE, 0, 7, 0, 10)]), warnings=(HOSTILE,))
    found.attach_run({"tag": HOSTILE, HOSTILE: 1})
    shown = [found._repr_html_(), found.by("name")._repr_html_(), found.totals._repr_html_()]
    shown.append(found.findings()._repr_html_())
    shown.append(ds2prof.Answer("name", {HOSTILE: [HOSTILE]}, (HOSTILE,))._repr_html_())
    for html in shown:
        assert "<img" not in html
        assert "\x1b" not in html
    assert "&lt;img" in shown[1]


def test_nothing_of_a_file_steers_a_terminal():
    found = adopted(kernels=(KERNEL, [(HOSTILE, 0, 7, 0, 10)]))
    for text in (repr(found), repr(found.by("name")), repr(found.totals), repr(found.findings())):
        assert "\x1b" not in text


def test_an_answer_shows_its_first_rows_and_says_how_many_more_there_are():
    answer = ds2prof.Answer("name", {"name": [f"k{n}" for n in range(50)], "dur_ns": list(range(50))}, ("a note",))
    assert repr(answer).endswith("... 30 more rows")
    assert "k19" in repr(answer)
    assert "k20" not in repr(answer)
    html = answer._repr_html_()
    assert (html.count("<tr>"), "30 more rows" in html, "a note" in html) == (21, True, True)


def test_a_profile_says_what_it_holds_without_reading_more(timeline):
    assert repr(timeline).endswith("PyTorch profiler; 3 kernels>")
    timeline._repr_html_()
    assert set(timeline._tables) <= {"kernels", "devices", "processes", "threads", "spans"}


def test_tables_and_columns_are_one_line(timeline):
    assert repr(timeline.table("kernels")).startswith("<ds2prof Table kernels: 3 rows of name, ")
    assert repr(timeline.table("kernels")["name"]) == "<ds2prof Column text: 3 values, 1 distinct>"


# What completes.


def test_names_complete():
    assert {"read", "read_all", "plots", "Profile", "Answer", "errors"} <= set(dir(ds2prof))
    assert {"kernels", "ranges", "core", "ledger", "by", "totals", "findings"} <= set(dir(adopted()))


def test_every_table_stands_in_the_class_for_editors_with_a_line_of_its_own():
    text = Path(api.__file__).read_text(encoding="utf-8")
    missing = [name for name in SCHEMAS if f'def {name}(self) -> pd.DataFrame:\n            """' not in text]
    assert missing == []


def test_every_public_function_has_hints_and_a_docstring():
    for owner in (ds2prof.Profile, ds2prof.Answer):
        for name, member in vars(owner).items():
            if callable(member) and not name.startswith("_"):
                assert member.__doc__, name
    assert get_type_hints(api.read)["return"] is ds2prof.Profile


@pytest.mark.long
def test_mypy_sees_what_editors_see(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(
        "import ds2prof\n"
        "p = ds2prof.read('x')\n"
        "reveal_type(p)\nreveal_type(p.kernels)\nreveal_type(p.ledger(per='phase'))\nreveal_type(p.core().to_pandas())\n"
        "p.by('colour')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", str(tmp_path), str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        check=False,
    )
    told = done.stdout.replace('"', "'")
    assert told.count("pandas") >= 2
    assert "ds2prof.api.Profile" in told
    assert "ds2prof.api.Answer" in told
    assert "incompatible type 'Literal['colour']'" in told


def test_reading_and_repr_load_no_pandas(known):
    code = "import sys, ds2prof; repr(ds2prof.read(sys.argv[1]).ledger()); print('pandas' in sys.modules)"
    file = str(known / "data_bound")
    done = subprocess.run([sys.executable, "-c", code, file], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
