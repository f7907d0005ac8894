from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="no torch, the tool that trains")

from ds2prof.cli import cli
from ds2prof.cli.bench_deepmark import command
from ds2prof.errors import CaptureError, Ds2profError, UsageError
from ds2prof.parsers import log_cambricon, log_deepmark
from ds2prof.parsers.sources import find_sources
from ds2prof.speech.synthetic import Group, deepmark_groups
from ds2prof.train import deepmark, deepmark_process
from ds2prof.train.deepmark import Asked, default_memory_limit, size_bytes
from ds2prof.train.deepmark_plan import Minibatch, minibatches, warm_up
from ds2prof.train.deepmark_process import DoesNotFit, Setting, Timed, TookTooLong
from ds2prof.train.deepmark_result import PUBLISHED, benchmark_log, columns, epoch_s
from ds2prof.train.deepmark_search import DOES_NOT_FIT, FITS, TOO_LONG, Probe, fastest, largest
from ds2prof.train.deepmark_text import text_lines, torch_lines

SETTING = Setting(preset="tiny", device="cpu", precision="fp32", seed=1, memory_limit_bytes=None)


class Quiet:
    def probing(self, kind: str, batch_size: int) -> None: ...

    def probed(self, kind: str, probe: Probe) -> None: ...

    def passing(self, done: int, minibatches: int) -> None: ...


def cards_that_take(ns_per_frame: int, *, fit: int = 10**9) -> Any:
    """A stand-in for the processes: time in proportion to the frames of the largest part, two thirds of it backward."""

    def measured(setting: Setting, batches: list[Minibatch], **options: Any) -> Timed:
        if max(count for batch in batches for _, count in batch.parts) > fit:
            raise DoesNotFit("out of memory")
        rows = []
        for batch in batches:
            third = batch.frames * max(count for _, count in batch.parts) * ns_per_frame // 3
            rows.append((third, 2 * third, 4 * third))
        return Timed(rows, CARD_FACTS, peak_bytes=1000, reserved_bytes=None)

    return measured


CARD_FACTS = {
    "parameters": 7,
    "device": {"device": "cpu", "name": "a host"},
    "versions": {"torch": "2.13.0"},
    "events": False,
}


def measured(monkeypatch: pytest.MonkeyPatch, *, fit: int = 10**9, **options: Any) -> deepmark.Measured:
    monkeypatch.setattr(deepmark, "measure", cards_that_take(30_000, fit=fit))
    return deepmark.run(Asked(setting=SETTING, **options), Quiet())


# -- the order of the protocol


def test_minibatches_ascend_and_never_mix_two_lengths() -> None:
    groups = deepmark_groups(0.001)
    batches = minibatches(groups, 8)
    assert [batch.frames for batch in batches] == sorted(batch.frames for batch in batches)
    assert sum(batch.samples for batch in batches) == 128
    covered = [number for batch in batches for first, count in batch.parts for number in range(first, first + count)]
    assert covered == [number for group in groups for number in range(group.first, group.first + group.utterances)]


@pytest.mark.parametrize(("batch_size", "count"), [(32, 4000), (64, 2000), (128, 1000)])
def test_the_usual_batch_sizes_divide_the_whole_distribution(batch_size: int, count: int) -> None:
    batches = minibatches(deepmark_groups(), batch_size)
    assert len(batches) == count
    assert {batch.samples for batch in batches} == {batch_size}


def test_what_does_not_fill_a_minibatch_is_an_exact_one() -> None:
    batches = minibatches([Group(100, 7, 0, 10), Group(200, 17, 10, 3)], 4)
    assert [batch.parts for batch in batches] == [((0, 4),), ((4, 4),), ((8, 2),), ((10, 3),)]


def test_cards_share_a_minibatch_evenly_and_may_go_without() -> None:
    batches = minibatches([Group(100, 7, 0, 13)], 4, cards=3)
    assert [batch.parts for batch in batches] == [((0, 4), (4, 4), (8, 4)), ((12, 1), (13, 0), (13, 0))]


def test_warm_up_holds_the_minibatch_that_needs_most_memory() -> None:
    batches = minibatches([Group(100, 7, 0, 9), Group(200, 17, 9, 2), Group(300, 35, 11, 4)], 8)
    assert warm_up(batches)[0] == batches[3]


# -- the search


def speeds(rates: dict[int, float | None], asked: list[int] | None = None) -> Any:
    def attempt(batch_size: int) -> Probe:
        if asked is not None:
            asked.append(batch_size)
        rate = rates[batch_size]
        outcome = FITS if rate is not None else DOES_NOT_FIT
        return Probe(batch_size=batch_size, outcome=outcome, samples_per_s=rate)

    return attempt


def test_the_fastest_is_found_and_two_slower_ones_end_the_search() -> None:
    found = fastest(speeds({8: 10, 16: 20, 32: 30, 64: 25, 128: 24}), largest_useful=17_920)
    assert (found.batch_size, len(found.probes), found.ended) == (32, 5, "two in a row were slower")


def test_where_the_first_is_fastest_smaller_ones_are_tried() -> None:
    asked: list[int] = []
    found = fastest(speeds({8: 10, 16: 9, 32: 9, 4: 12, 2: 11, 1: 5}, asked), largest_useful=1000)
    assert found.batch_size == 4
    assert asked == [8, 16, 32, 4, 2, 1]


def test_where_the_first_does_not_fit_smaller_ones_are_tried() -> None:
    found = fastest(speeds({8: None, 4: None, 2: 3.0, 1: 2.0}), largest_useful=1000)
    assert found.batch_size == 2


def test_no_batch_is_tried_beyond_what_there_is() -> None:
    asked: list[int] = []
    assert fastest(speeds({8: 1, 16: 2, 18: 3}, asked), largest_useful=18).batch_size == 18
    assert asked == [8, 16, 18]
    assert fastest(speeds({3: 1, 1: 0.5}), largest_useful=3).batch_size == 3


def test_the_search_ends_when_its_time_is_up_with_the_best_so_far() -> None:
    found = fastest(speeds({8: 1}), largest_useful=100, time_is_up=lambda: True)
    assert (found.batch_size, found.timed_out) == (8, True)


def test_a_batch_that_cannot_even_be_timed_is_taken_and_said_to_be_unmeasured() -> None:
    found = fastest(lambda size: Probe(batch_size=size, outcome=TOO_LONG), largest_useful=100)
    assert found.batch_size == 8
    assert "unmeasured" in found.ended


def fits_until(limit: int) -> Any:
    return lambda size: Probe(batch_size=size, outcome=FITS if size <= limit else DOES_NOT_FIT)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 15, 16, 31])
def test_the_largest_that_fits_is_exact_while_it_is_small(limit: int) -> None:
    found = largest(fits_until(limit), limit=17_920)
    assert (found.batch_size, found.fails_at) == (limit, limit + 1)


@pytest.mark.parametrize("limit", [100, 777, 12_345])
def test_the_largest_that_fits_is_found_to_a_sixteenth(limit: int) -> None:
    found = largest(fits_until(limit), limit=17_920)
    assert found.batch_size is not None
    assert found.fails_at is not None
    assert found.batch_size <= limit < found.fails_at
    assert found.fails_at - found.batch_size <= found.batch_size / 16


def test_where_nothing_fits_nothing_is_found() -> None:
    assert largest(fits_until(0), limit=100).batch_size is None


def test_where_all_fits_the_limit_is_found() -> None:
    found = largest(fits_until(10**9), limit=100)
    assert (found.batch_size, found.fails_at) == (100, None)


# -- the columns


def test_the_columns_are_means_and_rates_over_what_was_computed() -> None:
    groups = [Group(100, 7, 0, 2), Group(300, 35, 2, 3)]
    batches = minibatches(groups, 2)
    rows = [(10**9, 2 * 10**9, 4 * 10**9), (2 * 10**9, 4 * 10**9, 7 * 10**9), (10**9, 2 * 10**9, 4 * 10**9)]
    found = columns(batches, rows, groups, 10)
    assert (found["forward_ns"], found["backward_ns"], found["total_ns"]) == pytest.approx((4e9 / 3, 8e9 / 3, 4e9))
    assert found["samples"] == 5
    assert found["audio_s"] == 2 * 1 + 3 * 3
    assert found["samples_per_s"] == pytest.approx(5 / 12)
    assert found["audio_s_per_s"] == pytest.approx(11 / 12)
    assert found["wall_s"] == 15
    assert [row["sum_ns"] for row in found["lengths"]] == [3 * 10**9, 9 * 10**9]


def test_the_epochs_time_scales_each_length_to_all_of_its_utterances() -> None:
    lengths = [
        {"frames": 100, "labels": 7, "utterances": 2, "sum_ns": 2 * 10**9},
        {"frames": 200, "labels": 17, "utterances": 1, "sum_ns": 3 * 10**9},
    ]
    whole = [Group(100, 7, 0, 10), Group(200, 17, 10, 4), Group(300, 35, 14, 1)]
    # the third was not computed: 5 s for 400 frames make 3.75 s for its 300
    assert epoch_s(lengths, whole) == pytest.approx(10 * 1 + 4 * 3 + 3.75)


def test_an_extrapolated_epoch_is_the_whole_one_where_time_follows_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    part = measured(monkeypatch, fraction=0.01, batch_size=32).document
    whole = measured(monkeypatch, batch_size=32).document
    assert (part["epoch"], whole["epoch"]) == ("extrapolated", "measured")
    assert part["epoch_s"] == pytest.approx(whole["epoch_s"], rel=1e-6)
    assert whole["samples"] == 128_000
    assert whole["audio_s"] == 760_320 / 5  # tiny: a fifth of each length


def test_the_published_rates_agree_with_the_epochs_and_the_milliseconds_do_not() -> None:
    for row in PUBLISHED:
        assert row.samples / row.epoch_s == pytest.approx(row.samples_per_s, abs=0.5)
        assert 760_320 / row.epoch_s == pytest.approx(row.audio_s_per_s, abs=0.6)
        assert row.minibatch_ms > 5 * row.total_ms
    assert [round(row.minibatch_ms) for row in PUBLISHED] == [1003, 1204]


def test_several_cards_are_set_beside_one(monkeypatch: pytest.MonkeyPatch) -> None:
    document = measured(monkeypatch, fraction=0.1, batch_size=8, cards=4).document
    assert document["cards"] == 4
    assert document["scaling"] == pytest.approx(4, rel=0.01)
    assert document["one_card"]["samples"] == document["samples"]
    assert any("measured, 1 card" in line for line in text_lines(document))


def test_the_batch_size_is_looked_for_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, fraction=0.001, batch_size=4).document["search"] == {}
    document = measured(monkeypatch, fraction=0.001, find_largest=True, fit=40).document
    assert document["search"]["largest"]["batch_size"] == 40
    assert document["search"]["fastest"]["probes"][0]["batch_size"] == 8


def test_what_fits_fits_beside_the_gradients_of_a_minibatch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    warm: dict[int, list[int]] = {}

    def noted(setting: Setting, batches: list[Minibatch], *, warmup: list[Minibatch], **options: Any) -> Timed:
        if batches[0].frames == 300:
            warm[batches[0].samples] = [batch.frames * batch.samples for batch in warmup]
        timed: Timed = cards_that_take(30_000, fit=3)(setting, batches)
        return timed

    monkeypatch.setattr(deepmark, "measure", noted)
    deepmark.run(Asked(setting=SETTING, fraction=0.0001, batch_size="largest"), Quiet())
    assert {samples: frames for samples, frames in warm.items() if samples > 1} == {2: [20], 4: [20], 3: [20]}


def test_a_batch_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Ds2profError, match="out of memory at minibatches of 17"):
        measured(monkeypatch, fraction=0.001, batch_size=17, fit=2)


def test_not_even_one_utterance_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Ds2profError, match="does not fit"):
        measured(monkeypatch, fraction=0.001, fit=0)


# -- what is printed


def test_the_text_has_the_columns_beside_the_published_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    document = measured(monkeypatch, fraction=0.001, batch_size=8).document
    lines = text_lines(document)
    text = " ".join(" ".join(lines).split())
    for word in ("forward ms", "backward ms", "total ms", "samples/s", "audio s/s", "epoch s", "scaling"):
        assert word in text
    for word in ("83*", "72*", "154*", "4013", "1204", "3.33", "1003 ms on 1", "extrapolated: 128 of 128000"):
        assert word in text
    assert re.search(r" 571469~ ", " ".join(text_lines({**document, "epoch_s": 571_468.9})))
    table_ends = lines.index("", 2)
    assert max(map(len, lines[table_ends:])) <= len(lines[2])


def test_a_search_that_ran_out_of_time_does_not_call_its_last_size_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    document = measured(monkeypatch, fraction=0.001, batch_size=8).document
    found = {"batch_size": 2, "ended": "the time for searching was up", "timed_out": True, "probes": []}
    said = "the largest that fits, on the longest utterances: at least 2 (the time for searching was up)"
    assert any(said in line for line in text_lines({**document, "search": {"largest": found}}))
    found.update(ended="batch 3 does not fit", timed_out=False)
    assert any("utterances: 2 (batch 3" in line for line in text_lines({**document, "search": {"largest": found}}))


def test_our_parser_reads_the_form_of_deepmarks_own_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = measured(monkeypatch, fraction=0.001, batch_size=8).document
    file = tmp_path / "deepmark.log"
    file.write_text("\n".join(torch_lines(document)) + "\n")
    source = next(iter(find_sources(file)))
    assert log_deepmark.sniff(source.head)
    samples = log_deepmark.parse(source).samples.set_index("metric")["value"]
    assert samples["Samples processed"] == 128
    assert samples["TOTAL"] == pytest.approx(document["total_ns"], abs=10_000)
    assert samples["EPOCH TIME"] == pytest.approx(document["epoch_s"] * 1e9, rel=1e-3)


def test_our_parser_reads_the_fields_of_cambricons_harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = measured(monkeypatch, fraction=0.001, batch_size=8)
    file = tmp_path / "log.json"
    file.write_text(json.dumps(result.benchmark_log(), indent=4))
    source = next(iter(find_sources(file)))
    assert log_cambricon.sniff(source.head)
    profile = log_cambricon.parse(source)
    samples = profile.samples.set_index("metric")["value"]
    wall_s = result.document["wall_s"]
    assert samples["throughput"] == pytest.approx(128 / wall_s, rel=1e-5)
    assert samples["batch_time_avg"] == pytest.approx(wall_s / result.document["batches"] * 1e9, abs=1e3)


def test_the_benchmark_log_has_cambricons_fields_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    result = measured(monkeypatch, fraction=0.001, batch_size=8)
    log = benchmark_log(result.document, [(1, 2, 6 * 10**9), (3, 4, 8 * 10**9)], date="2030-01-02 03:04:05")
    assert list(log) == [
        *("date", "net", "batch_size", "cards", "precision", "DPF_mode", "batch_time_avg", "batch_time_var"),
        *("hardware_time_avg", "hardware_time_var", "throughput", "device", "dataset"),
    ]
    assert (log["batch_time_avg"], log["batch_time_var"]) == (7, 1)


# -- the options


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 << 30), ("500MB", 500_000_000), ("1.5 gb", 1_500_000_000), ("4096", 4096)]
)
def test_sizes_are_read_as_people_type_them(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "0", "nan", "inf", "8 potatoes", "1e400"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        size_bytes(text)


def test_half_of_what_is_free_is_the_hosts_default() -> None:
    limit = default_memory_limit()
    assert limit is None or limit > 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--preset", "nothing"], "--preset nothing"),
        (["--fraction", "2"], "--fraction 2"),
        (["--device", "cpu", "--search-s", "nan"], "--search-s nan"),
        (["--device", "cpu", "--precision", "tf32"], "tf32"),
        (["--device", "cpu", "--memory-limit", "much"], "not a size"),
        (["--device", "nonsense"], "nonsense"),
        (["--device", "cpu:0", "--cards", "2"], "that is one device"),
    ],
)
def test_options_that_cannot_be_are_one_line(arguments: list[str], word: str) -> None:
    result = CliRunner().invoke(cli, ["bench", "deepmark", "--preset", "tiny", *arguments])
    assert isinstance(result.exception, UsageError)
    assert word in str(result.exception)


@pytest.mark.parametrize("log", ["", "missing/log.json"])
def test_a_benchmark_log_that_cannot_be_written_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str
) -> None:
    monkeypatch.setattr(deepmark, "measure", None)
    environ = {"BENCHMARK_LOG": str(tmp_path / log)}
    result = CliRunner(env=environ).invoke(cli, ["bench", "deepmark", "--preset", "tiny", "--device", "cpu"])
    assert isinstance(result.exception, CaptureError)
    assert "BENCHMARK_LOG" in str(result.exception)


def test_a_batch_size_is_a_number_or_fastest_or_largest() -> None:
    result = CliRunner().invoke(command, ["--batch-size", "slowest"])
    assert (result.exit_code, "fastest" in result.output) == (2, True)


# -- real processes

LIMIT = "1GiB"
BEYOND_LIMIT = Minibatch(300, ((120_000, 6000),))  # 1.16 GB of speech


@pytest.mark.slow
def test_a_pass_in_a_process_of_its_own_prints_the_columns_and_keeps_the_log(tmp_path: Path) -> None:
    log, output = tmp_path / "benchmark.json", tmp_path / "result.json"
    options = ["--preset", "tiny", "--device", "cpu", "--fraction", "0.0001", "--batch-size", "4"]
    command_line = ["bench", "deepmark", *options, "--memory-limit", LIMIT, "--format", "json", "-o", str(output)]
    result = CliRunner(env={"BENCHMARK_LOG": str(log)}).invoke(cli, command_line, catch_exceptions=False)
    assert result.exit_code == 0
    document = json.loads(output.read_text())
    assert (document["samples"], document["parameters"]) == (13, 839_444)
    assert document["total_ns"] == pytest.approx(document["forward_ns"] + document["backward_ns"])
    assert document["samples_per_s"] * document["pass_s"] == pytest.approx(13)
    assert document["audio_s_per_s"] * document["pass_s"] == pytest.approx(document["audio_s"])
    assert sum(row["sum_ns"] for row in document["lengths"]) / 1e9 == pytest.approx(document["pass_s"])
    assert 0 < document["pass_s"] <= document["wall_s"]
    assert json.loads(log.read_text())["net"] == "tiny"


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_average_their_gradients_and_are_set_beside_one() -> None:
    timed = deepmark_process.measure(SETTING, minibatches([Group(20, 1, 0, 5)], 2, cards=2), warmup=[])
    assert len(timed.rows) == 2  # the second is one utterance, on one of the two
    assert all(row[0] > 0 and row[1] > 0 for row in timed.rows)


@pytest.mark.slow
def test_a_probe_beyond_its_memory_dies_alone() -> None:
    setting = replace(SETTING, memory_limit_bytes=size_bytes(LIMIT))
    with pytest.raises(DoesNotFit):
        deepmark_process.measure(setting, [BEYOND_LIMIT], warmup=[])


def test_a_measurement_is_ended_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    start = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> Any:
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    with pytest.raises(TookTooLong):
        deepmark_process.measure(SETTING, [BEYOND_LIMIT], warmup=[], timeout_s=0.1)
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_a_process_ends_by_itself_where_the_one_that_asked_is_killed(tmp_path: Path) -> None:
    code = "from ds2prof.train import deepmark_child as child; child._end_with_asker()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 1


def test_a_process_says_how_much_memory_it_held_itself() -> None:
    held = bytearray(200 << 20)
    code = "from ds2prof.train.deepmark_child import _host_peak_bytes as peak; print(peak())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 << 20 < int(done.stdout) < len(held)


def test_last_words_of_exhausted_memory_are_understood() -> None:
    def ended(code: int, words: str) -> Any:
        return SimpleNamespace(last={}, process=SimpleNamespace(returncode=code), complaint=lambda: words)

    for code, words in (
        (-9, ""),
        (-6, "terminate called"),
        (1, "ImportError: x.so: failed to map segment from shared"),
    ):
        with pytest.raises(DoesNotFit):
            deepmark_process._refuse(ended(code, words))
    with pytest.raises(Ds2profError, match="failed: a bug"):
        deepmark_process._refuse(ended(1, "a bug"))


def test_the_largest_is_measured_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    document = measured(monkeypatch, fraction=0.1, batch_size="largest", fit=24).document
    assert document["batch_size"] == 24
    assert list(document["search"]) == ["largest"]
