"""What a profile looks like on a terminal: headings that claim no more than there is, and lines that fit."""

from __future__ import annotations

import pytest

from ds2prof.analysis import questions
from ds2prof.analysis.answers import Answer
from ds2prof.report.screen import heading, screen
from ds2prof.tables import Meta, Profile, int_column, text_column

META = Meta(file="f", tool="t", format="x")
DEVICES = ["0 Tesla V100", "1 Tesla V100", "2 Quadro RTX 6000"]


def profile(**columns):
    return Profile.of(META, {"kernels": columns})


def launches(devices, *, starts=None):
    count = len(devices)
    return profile(
        name=text_column([f"void some::kernel<{number}>(float const*, int)" for number in range(count)]),
        device=int_column(devices),
        stream=int_column([7] * count),
        start_ns=int_column(starts or [1_769_308_003_616_032_467 + 10_000_000 * number for number in range(count)]),
        dur_ns=int_column([1_000_000] * count),
    )


def shown(of, by="name", *, width=80, devices=()):
    (answer,) = questions.answers(of, by)
    return screen(META, [answer], totals=questions.totals_of(of), top=20, width=width, devices=devices)


def test_launches_fit_eighty_columns_and_start_with_the_first():
    lines = shown(launches([0, 0]), "launch").splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[-6:-4] for line in lines if line.lstrip().startswith(("0 ", "1 "))] == [
        ["0", "ns"],
        ["10.00", "ms"],
    ]
    assert "start: since the first launch" in lines[-2] or "start: since the first launch" in lines[-1]


def test_throughputs_and_the_ledger_fit_eighty_columns():
    metric = "sm__a_throughput_with_a_long_name.avg.pct_of_peak_sustained_elapsed"
    row = {"device": [0], "throughput": ["achieved_occupancy"], "utilization": [1.0], "coverage": [1.0]}
    means = Answer("throughput", {**row, "launches": [8], "metric": [metric]})
    long = "a range with a name that is longer than any line of a terminal that is narrow"
    row = {"device": [0], "cause": ["exposed_communication"], "dur_ns": [999_900_000], "share": [1.0]}
    names = {name: [long] for name in ("range", "operator", "call", "ended_by")}
    for answer in (means, Answer("ledger", {**row, **names})):
        totals = questions.totals_of(launches([0]))
        text = screen(META, [answer], totals=totals, top=20, width=80, devices=())
        assert max(map(len, text.splitlines())) <= 80
        assert "hidden: " in text


def test_what_gives_way_on_a_narrow_terminal_is_named():
    assert "hidden: exclusive (widen" in shown(launches([0, 0]), "launch")
    assert "hidden" not in shown(launches([0, 0]), "launch", width=120)


def test_the_window_of_several_devices_is_that_of_each():
    made = " ".join(shown(launches([0, 1, 1])).split())
    assert "3.000 ms busy on 2 devices together" in made
    assert "(12.000 ms on 2 devices together, device operations)" in made  # 1 ms of the one, 11 ms of the other
    assert "(1.000 ms on each of 2 devices, device operations)" in shown(launches([0, 1]), width=120)
    assert "together" not in shown(launches([0, 0]))


def test_one_window_that_devices_share_is_said_once():
    totals = questions.totals_of(launches([0, 1]))
    shared = [{**device, "window_ns": 4_000_000} for device in totals["devices"]]
    totals = {**totals, "devices": shared, "window_ns": 8_000_000}
    assert "(4.000 ms on each of 2 devices, device operations)" in heading(META, totals, width=120)


def test_devices_of_one_name_stand_together():
    made = heading(META, questions.totals_of(launches([0])), width=80, devices=DEVICES)
    assert "  device: 0, 1 Tesla V100; 2 Quadro RTX 6000\n" in made


@pytest.mark.parametrize("width", [60, 80, 200])
def test_notes_and_totals_fit_the_line_and_a_number_keeps_its_unit(width):
    note = "of 12 ms and 13 ms " * 9
    answer = Answer("name", {"name": ["k"], "calls": [1]}, (note,))
    totals = questions.totals_of(launches([0, 1]))
    lines = screen(META, [answer], totals=totals, top=20, width=width, devices=DEVICES).splitlines()
    assert max(map(len, lines)) <= width
    assert not any(line.lstrip().startswith(("ms", "us", "%")) for line in lines)
    assert " ".join(" ".join(lines).split()).count("12 ms and 13 ms") == 9


def test_a_file_without_launches_says_so():
    of = Profile.of(META, {"copies": {"name": text_column(["[memset]"]), "kind": text_column(["memset"])}})
    lines = shown(of, "copy")
    assert "no launches in this file; 1 copy or set\n" in lines
    assert "0 ns" not in lines


def test_sums_are_not_shown_as_launches():
    of = profile(name=text_column(["a", "b"]), calls=int_column([3, None]), dur_ns=int_column([30, 5]))
    made = shown(of, "launch")
    assert "one row a launch" not in made
    assert "each row the sum of its calls" in made
    assert "note: the source kept sums per kernel, not single launches" in made
    assert [row["calls"] for row in questions.answers(of, "launch")[0].rows()] == [3, 1]


def test_a_stream_that_the_file_does_not_state_is_no_empty_table():
    of = profile(name=text_column(["a"]), dur_ns=int_column([5]))
    assert "(not stated)" in shown(of, "stream")


def test_the_order_gives_way_before_what_the_pipes_did():
    columns = {
        "launch": [0],
        "name": ["k" * 60],
        "device": [0],
        "stream": [7],
        "order": [0],
        "dur_ns": [1],
        "fma": [0.5],
    }
    totals = questions.totals_of(launches([0]))
    made = screen(META, [Answer("launch", columns)], totals=totals, top=20, width=64, devices=())
    assert "50.00 %" in made
    assert "hidden: order (widen" in made
