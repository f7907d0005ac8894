"""A profiler's own words among the program's output: which are kept back, and that nothing else is touched."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.capture.launchers import LAUNCHERS, launcher
from ds2prof.capture.withholding import HELD_S, Withholding, beginning, quiet

PATTERNS = launcher("nsys").withheld
OWN = (
    b"Generating '/tmp/nsys-report-34f6.qdstrm'\n",
    b"Generated:\n    /m/.y.0bbfd16a-20434.partial.qdstrm\n",
    b"Generated:\n\t/m/a folder/.y.any.0bbfd16a-20434.partial.nsys-rep\n",
    b"Importer error status: The importer binary and its dependencies were not found.\n",
    b"Unable to retrieve the importer version: skipping importation of the QDSTRM file.\n",
)
ALIKE = (
    b"Generated: a text\n",
    b"Generated:\n    /m/picture.png\n",
    b"Generated:\n",
    b"Generating '/tmp/x'\n",
    b"Saving checkpoint\nWARNING: slow\nProcessing events\n[1/8] [half]\n",
    b"Importer error status: fine\n",
    b"Generat",
    b"\x00\xff\r\n",
    b"",
)


def passed(*chunks: bytes) -> bytes:
    stream = io.BytesIO()
    held = Withholding(stream, PATTERNS)
    for chunk in chunks:
        held.write(chunk)
    held.release()
    return stream.getvalue()


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("before", ALIKE)
def test_a_profilers_own_line_is_withheld_wherever_it_begins(own: bytes, before: bytes) -> None:
    assert passed(before + own + b"after") == before + b"after"


@pytest.mark.parametrize("printed", ALIKE)
def test_what_a_program_prints_that_is_much_like_it_passes(printed: bytes) -> None:
    assert passed(printed) == printed


@given(st.lists(st.sampled_from([*OWN, *ALIKE, b"x", b"\n"]), max_size=6), st.lists(st.integers(0, 400), max_size=8))
def test_it_does_not_matter_where_the_output_is_cut_into_chunks(texts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(texts)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[first:last] for first, last in itertools.pairwise(edges)]
    assert passed(*chunks) == passed(whole)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_bytes_of_any_kind_pass_unchanged(printed: bytes, cut: int) -> None:
    assert passed(printed[:cut], printed[cut:]) == printed


def test_a_line_without_its_end_passes_at_once() -> None:
    stream = io.BytesIO()
    Withholding(stream, PATTERNS).write(b"password: ")
    assert stream.getvalue() == b"password: "


def test_what_may_still_become_one_is_held_for_a_moment_only() -> None:
    now_s = [10.0]
    stream = io.BytesIO()
    held = Withholding(stream, PATTERNS, clock_s=lambda: now_s[0])
    held.write(b"> Generated:")
    held.release(after_s=HELD_S)
    assert stream.getvalue() == b"> "
    now_s[0] += HELD_S
    held.release(after_s=HELD_S)
    assert stream.getvalue() == b"> Generated:"
    held.write(b" 5\n")
    assert stream.getvalue() == b"> Generated: 5\n"


def test_a_line_that_never_ends_is_not_kept_in_memory() -> None:
    stream = io.BytesIO()
    held = Withholding(stream, PATTERNS)
    held.write(b"Generating '/" + b"x" * 100_000)
    assert len(stream.getvalue()) > 90_000
    held.release()
    assert len(stream.getvalue()) == 100_013


def test_a_profiler_without_such_words_has_the_streams_as_they_are() -> None:
    out, err = io.BytesIO(), io.BytesIO()
    with quiet(out, err, None, patterns=launcher("torch").withheld) as streams:
        assert (streams.stdout, streams.stderr, streams.tick) == (out, err, None)


def test_what_is_held_at_the_end_is_passed_on() -> None:
    out, err, ticks = io.BytesIO(), io.BytesIO(), []
    with quiet(out, err, lambda: ticks.append(1), patterns=PATTERNS) as streams:
        streams.stdout.write(b"Gener")
        assert streams.tick is not None
        streams.tick()
    assert out.getvalue() == b"Gener"
    assert ticks == [1]


def test_every_pattern_ends_with_its_line_and_begins_with_what_no_other_text_has() -> None:
    patterns = [pattern for name in LAUNCHERS for pattern in launcher(name).withheld]
    assert patterns
    for pattern in patterns:
        assert pattern.endswith("\n")
        assert len(beginning(pattern)) >= 10
        assert re.compile(pattern.encode())
