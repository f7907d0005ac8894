"""Drawings of the report and of figures: nothing is cut off, nothing covers another, no point is lost unsaid."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ds2prof.analysis.host_timelines import CAUSES
from ds2prof.kernel_classes import CLASSES
from ds2prof.report import style
from ds2prof.report.html import charts, words
from ds2prof.report.html.roofline_chart import MOST_DRAWN, Ceiling, Dot, roofline
from ds2prof.report.html.svg import straight
from ds2prof.report.placing import Board, along_roof, around


@pytest.mark.parametrize("most", [5, 7])
def test_a_legend_has_as_many_columns_as_the_drawing_is_wide_enough_for(most):
    with charts.sketch(1.8) as drawn:
        handles = [drawn.axes.plot([0], [0], label=words.CAUSES[cause])[0] for cause in CAUSES]
        charts.legend_below(drawn, handles, most=most)
        drawn.figure.canvas.draw()
        (legend,) = drawn.figure.legends
        frame = legend.get_window_extent()
        assert frame.x0 >= 0
        assert frame.x1 <= drawn.figure.bbox.width
        assert len(legend.get_texts()) == len(CAUSES)


def test_every_class_of_a_roofline_stands_in_a_legend_that_fits():
    dots = [Dot(name, 1.0 + place, 1e12, 0.01, "t") for place, name in enumerate(CLASSES)]
    made = roofline("r", dots, [Ceiling("fp32", 1e13)], bytes_per_s=1e12, alt="a")
    texts = re.findall(r">([a-z]+)</text>|>([a-z]+)\n*</tspan>", made.svg)
    assert set(CLASSES) <= {word for pair in texts for word in pair}


def points(made):
    """How many marks tell what they are, and how many points there are, one in the legend among them."""
    found = list(ET.fromstring(made.svg).iter())
    marks = [each for each in found if each.get("class") == "mark"]
    colour = next(each.get("class") for each in marks[0].iter("use"))
    return len(marks), len([each for each in found if each.tag == "use" and each.get("class") == colour])


@pytest.mark.parametrize(("count", "told", "drawn"), [(3, 3, 3), (90, 80, 90), (MOST_DRAWN + 5, 80, MOST_DRAWN)])
def test_names_that_do_not_tell_what_they_are_are_drawn_and_counted(count, told, drawn):
    dots = [Dot("gemm", 1 + place % 40, 1e9 * (1 + place % 53), 0.5**place, f"t{place}") for place in range(count)]
    made = roofline("r", dots, [], bytes_per_s=None, alt="a")
    assert points(made) == (told, drawn + 1)
    assert (f"of {count:,} names the 80 longest" in made.caption) == (count > told)
    assert (f"the first {MOST_DRAWN:,} are drawn" in made.caption) == (count > drawn)


def dense(path):
    """Corners of a path, those on the way of a straight line left out."""
    corners = []
    x = y = None
    for command, given_at in re.findall(r"([MLHVz])([^MLHVz]*)", path):
        numbers = [float(word) for word in given_at.split()]
        x = numbers[0] if command in "MLH" else x
        y = numbers[-1] if command in "MLV" else y
        step = (command if command in "Mz" else "L", x, y)
        if step[0] == "L" and corners[-1][1:] == step[1:]:
            continue
        while len(corners) > 1 and step[0] == corners[-1][0] == "L" and corners[-2][0] != "z":
            (_, x0, y0), (_, x1, y1) = corners[-2:]
            if not ((x0 == x1 == x and (y1 - y0) * (y - y1) > 0) or (y0 == y1 == y and (x1 - x0) * (x - x1) > 0)):
                break
            corners.pop()
        corners.append(step)
    return corners


PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=9)


@given(st.lists(st.tuples(PLACES, st.booleans()), min_size=1, max_size=3))
def test_a_path_in_fewer_letters_has_the_same_corners(parts):
    path = " ".join("M " + " L ".join(f"{x} {y}" for x, y in places) + " z" * closed for places, closed in parts)
    assert dense(straight(path)) == dense(path)
    assert len(straight(path)) <= len(path)


def test_a_path_with_curves_stays_as_it_is():
    assert straight("M 0 0 C 1 2 3 4 5 6 z") == "M 0 0 C 1 2 3 4 5 6 z"
    assert straight("") == ""


@pytest.fixture
def axes():
    with style.drawing():
        made = Figure(figsize=(8, 5), dpi=72).add_subplot(position=(0.1, 0.1, 0.78, 0.78))
        made.set(xscale="log", yscale="log", xlim=(0.1, 1000), ylim=(1e9, 1e15))
        yield made


def test_the_name_of_a_roof_gives_way_to_a_mark_on_its_line(axes):
    board = Board(axes)
    board.mark([(500, 1.3e13, 9)])
    assert board.write("fp32", along_roof(10, 1000, 1e13, is_inner=True), size_points=9, may_cover=True)
    assert axes.texts[0].get_va() == "top"


def test_names_cover_neither_marks_nor_each_other_nor_leave_the_axes(axes):
    board = Board(axes)
    marks = [(10.0 ** (place % 5 - 1) * 1.5, 10.0 ** (9.3 + place % 6), 4.0) for place in range(14)]
    board.mark(marks)
    written = [
        board.write(f"kernel_{number}_of_some_length", around(*mark), size_points=7)
        for number, mark in enumerate(marks)
    ]
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 3 < sum(written) == len(boxes)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert not any(box.contains(*axes.transData.transform(mark[:2])) for box in boxes for mark in marks)
