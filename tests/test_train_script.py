from __future__ import annotations

import gzip
import json
import subprocess
import sys
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from click.testing import CliRunner, Result

import train_profiling
from ds2prof.config import PHASES, range_kind
from ds2prof.inject import trace
from ds2prof.measurements import read_sidecar, sidecar_path
from ds2prof.train.device import Device, memory_errors
from ds2prof.units import ns_from_decimal
from tests.conftest import ROOT

SIDECAR_FIELDS = {
    *("schema", "tool", "tool_version", "command", "preset", "precision", "batch_size", "window", "devices"),
    *("versions", "clocks", "commit", "started_utc", "dur_ns", "exit_code", "tag"),
}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(train_profiling.main, ["--device", "cpu", *map(str, arguments)])


@pytest.fixture(scope="module")
def run_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run_bs3_x.jsonl"
    result = invoke("--batch-size", 3, "--iterations", 4, "--warmup", 1, "--tag", "x", "--output", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def trace_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "torch_bs2.json.gz"
    window = ("--profile-start", 1, "--profile-stop", 3)
    result = invoke("--batch-size", 2, "--profiler", "torch", "--layers", *window, "--output", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def ranges(trace_path: Path) -> list[dict[str, Any]]:
    """The ranges of the trace with their borders in integer nanoseconds, in the order of their start."""
    with gzip.open(trace_path, "rt") as stream:
        events = json.load(stream, parse_float=str)["traceEvents"]
    found = []
    for event in events:
        named = range_kind(event["name"]) if event.get("cat") == "user_annotation" else None
        if named is not None:
            start_ns, dur_ns = (ns_from_decimal(str(event[key]), ns_per_unit=1000) for key in ("ts", "dur"))
            found.append({"kind": named[0], "value": named[1], "start": start_ns, "end": start_ns + dur_ns})
    return sorted(found, key=lambda one: (one["start"], -one["end"]))


def of_kind(ranges: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in ranges if one["kind"] == kind]


def inside(ranges: list[dict[str, Any]], outer: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in ranges if outer["start"] <= one["start"] and one["end"] <= outer["end"]]


def test_a_run_log_has_an_object_for_every_iteration(run_log: Path) -> None:
    header, *rows, last = map(json.loads, run_log.read_text().splitlines())
    assert header["schema"] == "ds2prof-run/1"
    assert (header["preset"], header["batch_size"], header["warmup"]) == ("tiny", 3, 1)
    assert (header["device"], header["window"], header["seed"]) == ("cpu", None, 1)
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert all(row["wall_ns"] > 0 and row["loss"] > 0 and row["padded_s"] >= row["audio_s"] > 0 for row in rows)
    assert last["stretch"]["wall_ns"] == sum(row["wall_ns"] for row in rows[1:])


def test_a_run_log_has_a_sidecar_with_every_field(run_log: Path) -> None:
    facts = read_sidecar(run_log)
    assert facts is not None
    assert set(facts) == SIDECAR_FIELDS
    assert (facts["tool"], facts["tag"], facts["window"], facts["exit_code"]) == ("ds2prof train", "x", None, 0)
    assert facts["versions"]["torch"] == str(torch.__version__)


def test_a_trace_has_a_sidecar_with_its_window(trace_path: Path) -> None:
    facts = read_sidecar(trace_path)
    assert facts is not None
    assert (facts["tool"], facts["window"]) == ("torch.profiler", {"start": 1, "stop": 3})


def test_a_trace_has_the_flop_of_its_window_in_its_sidecar(trace_path: Path) -> None:
    facts = read_sidecar(trace_path)
    assert facts is not None
    assert facts["work"]["iterations"] == 2
    assert 0 < facts["work"]["model_flop"] <= facts["work"]["hardware_flop"]


def test_a_launcher_outside_is_told_the_work_of_the_window(
    trace_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DS2PROF_STATUS", str(tmp_path / "status"))
    window = ("--profile-start", 1, "--profile-stop", 3)
    result = invoke("--batch-size", 2, "--profiler", "external", *window)
    assert result.exit_code == 0, result.output
    words = [line.split(" ", 2) for line in (tmp_path / "status").read_text().splitlines()]
    assert [word for word, *_ in words] == ["open", "closed", "work"]
    facts = read_sidecar(trace_path)
    assert facts is not None
    assert json.loads(words[-1][2]) == facts["work"]
    assert (facts["work"]["samples"], facts["work"]["iterations"]) == (4, 2)
    assert facts["work"]["padded_s"] >= facts["work"]["audio_s"] > 0


def test_nothing_but_the_trace_and_its_sidecar_is_left(trace_path: Path) -> None:
    assert set(trace_path.parent.iterdir()) == {trace_path, sidecar_path(trace_path)}


def test_a_trace_holds_one_window_around_its_iterations(ranges: list[dict[str, Any]]) -> None:
    [window] = of_kind(ranges, "window")
    assert window["value"] == "1-3"
    assert [one["value"] for one in of_kind(inside(ranges, window), "iteration")] == ["1", "2"]
    assert len(inside(ranges, window)) == len(ranges)


def test_the_phases_partition_each_iteration(ranges: list[dict[str, Any]]) -> None:
    for iteration in of_kind(ranges, "iteration"):
        phases = of_kind(inside(ranges, iteration), "phase")
        assert tuple(phase["value"] for phase in phases) == PHASES
        assert all(one["end"] <= other["start"] for one, other in pairwise(phases))
    assert len(of_kind(ranges, "phase")) == 2 * len(PHASES)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_layers_lie_inside_their_phase_in_order(ranges: list[dict[str, Any]], direction: str) -> None:
    expected = [f"{layer}:{direction}" for layer in ("conv.0", "conv.1", "rnn.0", "rnn.1", "rnn.2", "head")]
    for phase in of_kind(ranges, "phase"):
        if phase["value"] == direction:
            layers = of_kind(inside(ranges, phase), "layer")
            assert [layer["value"] for layer in layers] == expected[:: 1 if direction == "forward" else -1]
            assert all(one["end"] <= other["start"] for one, other in pairwise(layers))
    assert len([one for one in of_kind(ranges, "layer") if one["value"].endswith(direction)]) == 2 * len(expected)


def test_a_measurement_that_is_there_is_refused_before_the_training(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("precious")
    monkeypatch.setattr(train_profiling, "train", lambda *_args, **_kwargs: pytest.fail("training started"))
    result = invoke("--output", path)
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert result.stderr.count("\n") == 1
    assert path.read_text() == "precious"


def test_the_environment_moves_the_window(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DS2PROF_PROFILE_START", "0")
    monkeypatch.setenv("DS2PROF_PROFILE_STOP", "1")
    path = tmp_path / "run.jsonl"
    assert invoke("--output", path).exit_code == 0
    last = json.loads(path.read_text().splitlines()[-1])
    assert (last["stretch"]["first"], last["stretch"]["stop"]) == (0, 1)


def test_no_iterations_print_the_size_and_write_nothing(tmp_path: Path) -> None:
    result = invoke("--preset", "tbd", "--iterations", 0, "--output", tmp_path / "run.jsonl")
    assert (result.exit_code, result.stdout) == (0, "tbd: 86,618,400 parameters\n")
    assert not list(tmp_path.iterdir())


def test_bf16_trains_on_the_host(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    result = invoke("--precision", "bf16", "--batch-size", 1, "--iterations", 1, "--output", path)
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text().splitlines()[1])["loss"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--precision", "tf32"], 2, "TF32"),
        (["--device", "nonsense"], 2, "nonsense"),
        (["--profile-start", "9", "--profiler", "torch"], 2, "holds no iteration"),
        (["--batch-size", "200000"], 2, "128000"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], code: int, word: str, tmp_path: Path) -> None:
    output = [] if "torch" in arguments else ["--output", tmp_path / "run.jsonl"]
    result = invoke(*arguments, *output)
    assert result.exit_code == code
    assert word in result.stderr
    assert result.stderr.startswith("train_profiling.py: ")
    assert result.stderr.count("\n") == 1


def test_a_gpu_that_is_not_there_is_one_line() -> None:
    result = invoke("--device", "cuda:97")
    assert result.exit_code == 1
    assert result.stderr.startswith("train_profiling.py: --device cuda:97: ")


def test_a_missing_torch_is_one_line_that_says_how_to_get_it(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = invoke()
    assert result.exit_code == 1
    assert result.stderr == (
        'train_profiling.py: torch: this package is not installed; pip install "ds2prof[train]" brings it\n'
    )


@pytest.fixture(scope="module")
def spoken_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six noises of different lengths that claim to be speech."""
    pytest.importorskip("soundfile", reason="the package soundfile is missing")
    folder, stream = tmp_path_factory.mktemp("corpus"), np.random.default_rng(3)
    lines = []
    for number in range(6):
        sound, text = folder / f"{number}.wav", folder / f"{number}.txt"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(stream.integers(-9000, 9000, size=4000 + 1600 * number, dtype=np.int16).tobytes())
        text.write_text("ONE TWO\n", encoding="utf-8")
        lines.append(f"{sound},{text}\n")
    (folder / "manifest.csv").write_text("".join(lines), encoding="utf-8")
    return folder / "manifest.csv"


def test_a_corpus_is_trained_on_where_one_is_named(spoken_manifest: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    asked = ("--train-manifest", spoken_manifest, "--batch-size", 2, "--iterations", 3, "--warmup", 0)
    result = invoke(*asked, "--output", path)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in path.read_text().splitlines()][1:-1]
    lengths_s = sorted(row["audio_s"] for row in rows)
    # Bins of neighbours in length: 1 + samples // 160 frames of 10 ms, two utterances in each.
    assert lengths_s == pytest.approx([0.62, 1.02, 1.42], abs=1e-9)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (("--workers", 2), "--train-manifest"),
        (("--labels", 5), "--frames"),
        (("--pieces", "x.model"), "--train-manifest"),
        (("--train-manifest", "m.csv", "--hold", 3), "--hold"),
        (("--train-manifest", "m.csv", "--preset", "rnnt"), "--pieces"),
    ],
)
def test_options_of_corpora_and_of_synthetic_speech_do_not_mix(asked: tuple[object, ...], word: str) -> None:
    result = invoke(*asked, "--iterations", 2)
    assert result.exit_code == 2
    assert word in result.output


def test_one_utterance_can_be_held_and_all_made_alike(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    alike = ("--frames", 50, "--hold", 7, "--accumulate", 2)
    result = invoke("--batch-size", 2, "--iterations", 3, "--warmup", 0, *alike, "--output", path)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in path.read_text().splitlines()][1:-1]
    assert [(row["samples"], row["audio_s"], row["padded_s"]) for row in rows] == [(4, 2.0, 2.0)] * 3
    assert rows[2]["loss"] < rows[0]["loss"], "it is the same utterance again and again"


def test_help_needs_no_torch_and_no_particular_folder(tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['numpy'] = None; sys.argv = [sys.argv[1], '--help'];"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0]); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(ROOT / "train_profiling.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "python train_profiling.py --profiler torch" in done.stdout


def test_it_runs_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train_profiling.py"), "--device", "cpu", "--iterations", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tiny: ")


@pytest.mark.parametrize("raised", [torch.cuda.OutOfMemoryError("x"), RuntimeError("DefaultCPUAllocator: no memory")])
def test_exhausted_memory_is_one_line(raised: RuntimeError) -> None:
    from ds2prof.errors import Ds2profError

    with pytest.raises(Ds2profError, match="batch size 64"), memory_errors(Device(torch.device("cpu")), 64):
        raise raised


def test_another_runtime_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="a bug"), memory_errors(Device(torch.device("cpu")), 64):
        raise RuntimeError("a bug")


@pytest.mark.parametrize("isal", [True, False])
def test_compression_gives_back_what_went_in(isal: bool, tmp_path: Path, monkeypatch: Any) -> None:
    if isal:
        pytest.importorskip("isal", reason="no isal, the tool that compresses fast")
    else:
        monkeypatch.setitem(sys.modules, "isal.igzip", None)
    source, target = tmp_path / "raw.json", tmp_path / "packed.json.gz"
    source.write_bytes(bytes(range(256)) * 10_000)
    trace.compress(str(source), str(target))
    assert gzip.decompress(target.read_bytes()) == source.read_bytes()
    assert target.stat().st_size < source.stat().st_size / 10
