"""Reading memory captures, and what is said of them."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ds2prof import read, read_all
from ds2prof.analysis import memory, questions
from ds2prof.cli import cli
from ds2prof.errors import MissingDataError
from ds2prof.parsers import memory_csv, parse_source
from ds2prof.parsers.sources import HEAD_BYTES, Source

HEADING = memory_csv.HEADING.decode()
PEAK = """\
3,before_backward,,cpu,relu,activations,2048,
3,before_backward,,cpu,,allocated,2048,
3,layer_backward,backward,cpu,relu,allocated,9660,aten.threshold_backward.default
3,peak,backward,cpu,relu,activations,2048,
3,peak,backward,cpu,linear,weights,576,
3,peak,backward,cpu,relu,allocated,2624,aten.threshold_backward.default
"""


def source(*rows: str) -> Source:
    content = "\n".join([HEADING, *(row.rstrip("\n") for row in rows), ""]).encode()
    return Source("memory", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def parsed(*rows: str):
    return parse_source(source(*rows)).require("memory")


def gpus(golden):
    return read(golden / "memory_csv" / "two_gpus" / "input.csv", tables=("memory",))


def test_rows_keep_their_moment_layer_category_and_bytes():
    table = parsed(PEAK).table("memory")
    found = list(zip(*(table[name].tolist() for name in ("moment", "layer", "category", "size_bytes")), strict=True))
    assert found[-2:] == [("peak", "linear", "weights", 576), ("peak", "relu", "allocated", 2624)]
    assert table["operator"].tolist()[-1] == "aten.threshold_backward.default"
    assert table["phase"].tolist()[:2] == [None, None]


def test_devices_are_a_kind_and_a_number():
    table = parsed(PEAK.replace(",cpu,", ",cuda:1,")).table("memory")
    assert set(table["device_type"].tolist()) == {"cuda"}
    assert set(table["device"].tolist()) == {1}
    assert set(parsed(PEAK).table("memory")["device"].tolist()) == {None}


def test_the_domain_is_that_of_the_device():
    assert parsed(PEAK).meta.domain == "cpu"
    assert parsed(PEAK.replace(",cpu,", ",cuda:0,")).meta.domain == "gpu"


def test_layers_with_commas_and_quotes_are_read_as_they_were_written():
    quoted = PEAK.replace(",relu,", ',"a, ""b""",')
    assert 'a, "b"' in parsed(quoted).table("memory")["layer"].tolist()


@pytest.mark.parametrize(
    "row",
    [
        "3,peak,backward,cpu,relu,activations,many,",
        "3,peak,backward,cpu,relu,activations,-5,",
        "-1,peak,backward,cpu,relu,activations,5,",
        "3,noon,backward,cpu,relu,activations,5,",
        "3,peak,backward,GPU 0,relu,activations,5,",
        "3,peak,backward,cpu,relu,,5,",
        "3,peak,backward,cpu,relu,activations",
        '3,peak,backward,cpu,"relu,activations,5,',
        "3,peak,backward,cpu,relu,activations,99999999999999999999,",
    ],
)
def test_what_is_no_row_is_left_out_and_told(row):
    profile = parsed(row, PEAK)
    assert profile.warnings == ("memory:2: no row of a memory capture; left out",)
    assert len(profile.table("memory")) == 6


def test_parts_that_are_not_what_was_allocated_are_told():
    (warning,) = parsed(PEAK.replace("weights,576", "weights,575")).warnings
    assert "iteration 3, peak" in warning
    assert "are not what was allocated" in warning


def test_a_file_that_was_cut_off_says_so():
    warnings = parsed(*PEAK.splitlines()[:4]).warnings
    assert any("parts are not what was allocated" in warning for warning in warnings)
    assert any("ends within iteration 3" in warning for warning in parsed(*PEAK.splitlines()[:2]).warnings)


@pytest.mark.parametrize("by", [None, "memory", "layer", "iteration"])
def test_a_file_that_was_cut_before_its_first_peak_is_one_line(golden, tmp_path, by):
    cut = tmp_path / "cut.csv"
    rows = (golden / "memory_csv" / "two_gpus" / "input.csv").read_text().splitlines()
    cut.write_text("\n".join(row for row in rows if ",peak," not in row) + "\n")
    asked = [] if by is None else ["--by", by]
    done = CliRunner().invoke(cli, ["parse", str(cut), *asked])
    assert isinstance(done.exception, MissingDataError)
    assert str(done.exception).endswith("no iteration in it has its peak; was it cut off? record it again")


def test_a_category_that_is_not_known_is_told():
    profile = parsed(PEAK.replace("linear,weights,576", "linear,fragments,576"))
    (warning,) = profile.warnings
    assert "unknown category fragments" in warning
    assert len(profile.table("memory")) == 6


def test_a_file_of_a_heading_alone_holds_nothing_and_says_so():
    profile = parsed()
    assert profile.warnings == ("memory: no iteration in it; was the window reached?",)
    with pytest.raises(MissingDataError, match="nothing was recorded"):
        questions.answers(profile, None)
    assert questions.totals_of(profile)["peak_bytes"] is None


def test_only_tensors_outside_of_the_allocator_make_a_part_negative():
    rows = ["3,peak,forward,cuda:0,model,temporaries,100,", "3,peak,forward,cuda:0,model,unattributed,-40,"]
    profile = parsed(*rows, "3,peak,forward,cuda:0,model,allocated,60,")
    assert profile.warnings == ()
    assert memory.moments(profile).rows()[0]["unattributed_bytes"] == -40


def test_the_moments_shown_are_those_of_the_iteration_with_the_highest_peak(golden):
    rows = memory.moments(gpus(golden)).rows()
    assert {row["iteration"] for row in rows} == {11}
    assert [row["moment"] for row in rows if row["device"] == "cuda:0"] == list(memory.MOMENTS)


def test_the_categories_of_each_moment_sum_to_what_was_allocated(golden):
    for name in ("two_gpus", "mlp_cpu"):
        profile = read(golden / "memory_csv" / name / "input.csv", tables=("memory",))
        for row in memory.moments(profile).rows():
            assert sum(row[f"{category}_bytes"] or 0 for category in memory.CATEGORIES) == row["allocated_bytes"]


def test_reserved_memory_that_is_not_used_is_the_difference(golden):
    row = memory.moments(gpus(golden)).rows()[0]
    assert row["reserved_unused_bytes"] == row["reserved_bytes"] - row["allocated_bytes"]
    assert row["device_used_bytes"] == 700_000_000


def test_layers_sum_to_the_peak_of_their_device(golden):
    profile = gpus(golden)
    peaks = {row["device"]: row["allocated_bytes"] for row in memory.moments(profile).rows() if row["moment"] == "peak"}
    sums = dict.fromkeys(peaks, 0)
    for row in memory.layers(profile).rows():
        sums[row["device"]] += row["size_bytes"]
    assert sums == peaks


def test_a_layer_tells_what_it_keeps_and_how_high_memory_stood_while_it_ran(golden):
    row = next(row for row in memory.layers(gpus(golden)).rows() if row["layer"] == "rnn.0")
    assert row["kept_bytes"] == 40_000_000
    assert (row["forward_peak_bytes"], row["backward_peak_bytes"]) == (120_000_000, 140_000_000)
    assert row["own_workspace_bytes"] == 24_000_000


def test_each_iteration_has_its_peak_and_the_place_of_it(golden):
    rows = memory.iterations(gpus(golden)).rows()
    assert [(row["iteration"], row["device"]) for row in rows] == [
        *[(10, "cuda:0"), (11, "cuda:0")],
        *[(10, "cuda:1"), (11, "cuda:1")],
    ]
    assert {(row["phase"], row["layer"]) for row in rows} == {("backward", "rnn.0")}


def test_totals_are_of_the_device_with_the_highest_peak(golden):
    totals = questions.totals_of(gpus(golden))
    assert (totals["peak_device"], totals["peak_iteration"], totals["peak_phase"]) == ("cuda:1", 11, "backward")
    assert totals["reserved_bytes"] == 400_000_000
    assert totals["state_bytes"] == 3 * 4_000_000 + 3 * 7168 + 264
    assert totals["activation_bytes"] == 104_029_000
    assert totals["activation_bytes_per_sample"] is None  # nobody says how many samples
    assert totals["gpu_compute_utilization"] is None


def test_with_a_sidecar_activations_are_told_for_each_sample(golden):
    profile = gpus(golden)
    profile.attach_run({"batch_size": 8})
    assert questions.totals_of(profile)["activation_bytes_per_sample"] == 104_029_000 / 8


def test_without_a_key_a_screen_has_all_three_tables_and_a_machine_one(golden):
    profile = gpus(golden)
    assert [answer.by for answer in questions.answers(profile, None, screens=True)] == ["memory", "layer", "iteration"]
    assert [answer.by for answer in questions.answers(profile, None)] == ["memory"]


def test_no_note_is_said_twice_on_a_screen(golden):
    notes = [note for answer in memory.all_answers(gpus(golden)) for note in answer.notes]
    assert len(notes) == len(set(notes))


def test_beside_a_gpu_a_screen_leaves_the_host_to_a_note():
    gpu = PEAK.replace(",cpu,", ",cuda:0,")
    both = parsed(PEAK, gpu)
    answers = questions.answers(both, None, screens=True)
    assert all(set(answer.columns["device"]) == {"cuda:0"} for answer in answers)
    assert any("the host's memory is left out" in note for answer in answers for note in answer.notes)
    assert set(memory.moments(both).columns["device"]) == {"cuda:0", "cpu"}
    alone = questions.answers(parsed(PEAK), None, screens=True)
    assert all(set(answer.columns["device"]) == {"cpu"} for answer in alone)


def test_shares_of_several_devices_are_not_added_up(golden):
    path = golden / "memory_csv" / "two_gpus" / "input.csv"
    text = CliRunner().invoke(cli, ["parse", str(path), "--by", "layer", "--top", "3"]).output
    assert "... 3 more; --top 6 shows all" in text


@pytest.mark.parametrize("by", ["core", "name", "phase", "metric"])
def test_other_questions_are_refused_with_those_that_it_answers(golden, by):
    with pytest.raises(MissingDataError, match=f"drop --by {by}"):
        questions.answers(gpus(golden), by)


def test_asking_another_file_for_memory_names_the_command_that_records_it(golden):
    (path,) = (golden / "torch_kineto" / "cpu_run").glob("input*")
    result = CliRunner().invoke(cli, ["parse", str(path), "--by", "memory"])
    assert isinstance(result.exception, (MissingDataError, SystemExit))
    assert "ds2prof run memory" in f"{result.exception}{result.output}"


@pytest.mark.parametrize("width", ["80", "200"])
def test_no_row_of_a_screen_is_wider_than_the_terminal(golden, width):
    path = golden / "memory_csv" / "two_gpus" / "input.csv"
    result = CliRunner().invoke(cli, ["parse", str(path)], env={"COLUMNS": width})
    assert result.exit_code == 0
    assert "peak 226.1 MB on cuda:1 (iteration 11, backward, rnn.0), 400.0 MB reserved" in result.output
    assert max(len(line) for line in result.output.splitlines() if not line.startswith("hidden:")) <= int(width)


def test_in_a_folder_the_snapshot_beside_a_capture_is_passed_over(golden, tmp_path):
    content = (golden / "memory_csv" / "mlp_cpu" / "input.csv").read_bytes()
    (tmp_path / "memory_bs4.csv").write_bytes(content)
    (tmp_path / "memory_bs4.snapshot.pickle").write_bytes(b"\x80\x04N.")
    assert [profile.meta.file for profile in read_all(tmp_path)] == [str(tmp_path / "memory_bs4.csv")]


def test_the_document_has_base_units_and_nulls(golden):
    path = golden / "memory_csv" / "mlp_cpu" / "input.csv"
    document = json.loads(CliRunner().invoke(cli, ["parse", str(path), "--format", "json"]).output)
    assert document["by"] == "memory"
    assert document["source"]["format"] == "ds2prof-memory"
    peak = document["rows"][-1]
    assert peak["moment"] == "peak"
    assert peak["reserved_bytes"] is None
    assert document["totals"]["peak_bytes"] == peak["allocated_bytes"]
    assert any("no count of the host's memory" in warning for warning in document["warnings"])


_ROWS = st.tuples(
    st.sampled_from(["conv", "rnn.0", "model"]), st.sampled_from(memory.CATEGORIES[:8]), st.integers(1, 1 << 40)
)


@given(st.lists(_ROWS, min_size=1, max_size=8, unique_by=lambda row: row[:2]))
def test_whatever_is_held_layers_and_categories_sum_to_the_same(rows):
    total = sum(size_bytes for _, _, size_bytes in rows)
    lines = [f"0,peak,forward,cpu,{layer},{category},{size_bytes}," for layer, category, size_bytes in rows]
    profile = parsed(*lines, f"0,peak,forward,cpu,model,allocated,{total},op")
    assert profile.warnings == ()
    assert sum(row["size_bytes"] for row in memory.layers(profile).rows()) == total
    assert memory.moments(profile).rows()[0]["allocated_bytes"] == total
