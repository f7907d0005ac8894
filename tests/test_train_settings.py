from __future__ import annotations

from pathlib import Path

import pytest

from ds2prof.config import DEFAULTS_CPU, DEFAULTS_GPU, Window
from ds2prof.errors import CaptureError, ExistsError, UsageError
from ds2prof.train.settings import Options, Settings, iterations_text, make_ready, resolve

FOLDER = Path("measurements")


def decide(*, on_gpu: bool = False, environ: dict[str, str] | None = None, **options: object) -> Settings:
    return resolve(Options(**options), on_gpu=on_gpu, environ=environ or {}, folder=FOLDER)  # type: ignore[arg-type]


@pytest.mark.parametrize(("on_gpu", "defaults"), [(False, DEFAULTS_CPU), (True, DEFAULTS_GPU)])
def test_defaults_follow_the_device(on_gpu: bool, defaults: object) -> None:
    settings = decide(on_gpu=on_gpu, profiler="torch")
    assert (settings.preset, settings.batch_size, settings.window) == (
        defaults.preset,  # type: ignore[attr-defined]
        defaults.batch_sizes[0],  # type: ignore[attr-defined]
        defaults.window,  # type: ignore[attr-defined]
    )


def test_a_profiled_run_ends_with_its_window() -> None:
    assert decide(profiler="torch", iterations=50).iterations == DEFAULTS_CPU.window.stop


def test_a_run_told_to_keep_going_has_the_iterations_asked_for() -> None:
    assert decide(profiler="torch", keep_going=True, iterations=50).iterations == 50


def test_a_run_told_to_keep_going_reaches_the_end_of_its_window() -> None:
    assert decide(profiler="external", keep_going=True, window="tbd-nvprof").iterations == 200


@pytest.mark.parametrize(("iterations", "first"), [(None, 5), (40, 5), (8, 2), (1, 0)])
def test_a_quarter_of_a_plain_run_is_warm_up_but_five_at_most(iterations: int | None, first: int) -> None:
    settings = decide(iterations=iterations)
    assert settings.window == Window(first, iterations or 20)
    assert not settings.window_given


def test_the_warm_up_can_be_chosen() -> None:
    assert decide(iterations=10, warmup=7).window == Window(7, 10)


def test_a_plain_run_with_a_window_takes_its_throughput_from_it() -> None:
    settings = decide(profile_start=2, profile_stop=4)
    assert (settings.window, settings.window_given, settings.iterations) == (Window(2, 4), True, 4)


@pytest.mark.parametrize(("name", "window"), [("tbd-nsight", Window(1, 2)), ("tbd-nvprof", Window(100, 200))])
def test_the_ancestors_windows_have_names(name: str, window: Window) -> None:
    assert decide(profiler="external", window=name).window == window


def test_the_environment_goes_before_the_options() -> None:
    environ = {"DS2PROF_PROFILE_START": "7", "DS2PROF_PROFILE_STOP": "9"}
    assert decide(profiler="torch", profile_start=1, profile_stop=2, environ=environ).window == Window(7, 9)


def test_an_empty_variable_is_no_window() -> None:
    assert decide(profiler="torch", environ={"DS2PROF_PROFILE_START": ""}).window == DEFAULTS_CPU.window


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "\u00b2"])
def test_a_variable_that_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="DS2PROF_PROFILE_STOP"):
        decide(profiler="torch", environ={"DS2PROF_PROFILE_STOP": text})


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"layers": True}, "--layers"),
        ({"profiler": "torch", "warmup": 2}, "--warmup"),
        ({"profiler": "external", "output": Path("x")}, "--output"),
        ({"profiler": "torch", "window": "tbd-nsight", "profile_start": 0}, "--window"),
        ({"profiler": "torch", "profile_start": 6}, "holds no iteration"),
        ({"profiler": "torch", "iterations": 5}, "--iterations 5"),
        ({"iterations": 5, "warmup": 5}, "--warmup 5"),
        ({"warmup": 1, "profile_start": 2, "profile_stop": 4}, "--warmup 1"),
        ({"tag": "a/b"}, "--tag"),
    ],
)
def test_contradictions_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        decide(**options)


@pytest.mark.parametrize("profiler", ["none", "torch", "external"])
def test_no_iterations_contradict_nothing(profiler: str) -> None:
    assert decide(profiler=profiler, iterations=0).iterations == 0


@pytest.mark.parametrize(
    ("profiler", "name"),
    [("none", "run_bs8_a.jsonl"), ("torch", "torch_bs8_a.json.gz"), ("external", None)],
)
def test_the_file_is_named_after_profiler_batch_and_tag(profiler: str, name: str | None) -> None:
    output = decide(profiler=profiler, batch_size=8, tag="a").output
    assert output == (None if name is None else FOLDER / name)


def test_an_output_goes_before_the_name() -> None:
    assert decide(output=Path("here.jsonl"), tag="a").output == Path("here.jsonl")


def test_a_measurement_that_is_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run_bs4.jsonl"
    path.write_text("x")
    with pytest.raises(ExistsError):
        make_ready(path, force=False)
    make_ready(path, force=True)
    assert path.read_text() == "x"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptureError, match="--output"):
        make_ready(tmp_path / "file" / "run_bs4.jsonl", force=False)


@pytest.mark.parametrize(("window", "text"), [(Window(3, 6), "iterations 3 to 5"), (Window(1, 2), "iteration 1")])
def test_a_window_reads_as_its_iterations(window: Window, text: str) -> None:
    assert iterations_text(window) == text


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, "run_bs4_rank1.jsonl"),
        ({"profiler": "torch"}, "torch_bs4_rank1.json.gz"),
        ({"output": Path("a.b/mine.jsonl")}, "a.b/mine_rank1.jsonl"),
        ({"output": Path("mine_rank1.jsonl")}, "mine_rank1.jsonl"),
    ],
)
def test_each_of_several_processes_writes_a_file_of_its_own(options: dict[str, object], names: str) -> None:
    settings = resolve(Options(**options), on_gpu=False, environ={}, folder=Path(), rank=1)  # type: ignore[arg-type]
    assert settings.output == Path(names)
