"""Cutting a stream of JSON into lists of events: any formatting, any chunk size, damage where it may be."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.errors import ReadError
from ds2prof.parsers import json_stream
from ds2prof.parsers.json_scan import array_start, elements
from ds2prof.parsers.json_stream import BrokenJsonError, EventStream


def decode(data: bytes) -> list[object]:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BrokenJsonError from None


def salvage(element: bytes) -> object | None:
    """The element with its tabs read as they are."""
    try:
        return json.loads(element, strict=False)
    except (ValueError, RecursionError):
        return None


def stream_of(content, chunk_bytes=64):
    data = content if isinstance(content, bytes) else content.encode()
    return EventStream(io.BytesIO(data), "made.json", decode=decode, salvage=salvage, chunk_bytes=chunk_bytes)


def read(content, chunk_bytes=64):
    events = stream_of(content, chunk_bytes)
    return [event for some in events for event in some], events


texts = st.text(st.sampled_from('ab"\\{}[],: \n\u00e9\u4e16'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=4)
forms = st.sampled_from(
    [
        {"indent": None, "separators": (",", ":")},
        {"indent": None},
        *({"indent": indent} for indent in (0, 1, 2, 4)),
        {"indent": "\t"},
    ]
)


@settings(max_examples=80)
@given(st.lists(objects, max_size=8), objects, objects, forms, st.booleans(), st.integers(1, 300))
def test_any_dump_in_any_chunks_gives_the_events_and_the_rest(events, before, after, form, ascii_only, chunk_bytes):
    document = {**before, "traceEvents": events, **{key: after[key] for key in after if key not in before}}
    content = json.dumps(document, ensure_ascii=ascii_only, **form)
    found, stream = read(content, chunk_bytes)
    assert found == events
    assert json.loads(stream.document) == {**document, "traceEvents": []}
    assert (stream.lost, stream.cut_at) == (0, None)


@settings(max_examples=50)
@given(st.lists(objects, max_size=8), forms, st.integers(1, 300))
def test_a_bare_list_is_read_too(events, form, chunk_bytes):
    found, stream = read(json.dumps(events, **form), chunk_bytes)
    assert found == events
    assert stream.document is None
    assert (stream.lost, stream.cut_at, stream.trailing_bytes) == (0, None, 0)


@settings(max_examples=80)
@given(st.lists(objects, min_size=1, max_size=6), forms, st.integers(1, 100), st.data())
def test_a_cut_anywhere_keeps_the_whole_events_in_front_of_it(events, form, chunk_bytes, data):
    content = json.dumps({"a": 1, "traceEvents": events, "z": 2}, **form)
    cut = data.draw(st.integers(0, len(content) - 1))
    if cut <= content.index("[", content.index("traceEvents")):
        with pytest.raises(ReadError, match="before its first event"):
            read(content[:cut], chunk_bytes)
        return
    found, stream = read(content[:cut], chunk_bytes)
    assert found == events[: len(found)]
    assert stream.lost == 0
    if stream.cut_at is not None:
        assert json.loads(content[: stream.cut_at].rstrip(", \n\t") + "]}")["traceEvents"] == found


def test_a_separator_inside_a_text_is_no_border():
    events = [{"name": f"a}},\n  {{b{index}"} for index in range(40)]
    assert read(json.dumps(events))[0] == events


def test_the_files_separator_inside_an_event_is_no_border():
    events = [{"args": [{"a": 1}, {"b": index}]} for index in range(50)]
    content = json.dumps({"traceEvents": events}, indent=0)
    for chunk_bytes in (1, 50, 333, 10_000):
        assert read(content, chunk_bytes)[0] == events


def test_lists_behind_the_events_that_are_formatted_alike_are_not_events():
    document = {"traceEvents": [{"n": index} for index in range(30)], "devices": [{"id": index} for index in range(30)]}
    found, stream = read(json.dumps(document, indent=2), 50)
    assert found == document["traceEvents"]
    assert json.loads(stream.document)["devices"] == document["devices"]


def test_formatting_that_changes_on_the_way_is_followed():
    parts = ['{"n": 0},\n  {"n": 1}', '{"n":2},{"n":3}', '\n\n{ "n" : 4 }\t,{"n": 5\n}\n']
    assert read("[" + ",".join(parts) + "]", 4)[0] == [{"n": number} for number in range(6)]


def test_the_key_in_a_text_or_further_inside_is_not_taken_for_the_events():
    document = {"note": 'say "traceEvents": [', "in": {"traceEvents": [1, 2]}, "traceEvents": [{"n": 1}]}
    assert read(json.dumps(document))[0] == [{"n": 1}]


def test_a_large_object_in_front_of_the_events_is_kept():
    document = {"metadata": {f"key{index}": "x" * 50 for index in range(500)}, "traceEvents": [{"n": 1}]}
    found, stream = read(json.dumps(document), 100)
    assert found == [{"n": 1}]
    assert len(json.loads(stream.document)["metadata"]) == 500


def test_a_byte_order_mark_is_passed_over():
    assert read(b'\xef\xbb\xbf{"traceEvents": [{"n": 1}]}', 1)[0] == [{"n": 1}]


def test_a_comma_behind_the_last_event_does_no_harm():
    assert read('[{"n": 1},\n{"n": 2},\n]')[0] == [{"n": 1}, {"n": 2}]


def test_a_list_that_is_never_closed_is_read_and_said_to_be_cut():
    found, stream = read('[{"n": 1},\n{"n": 2},\n')
    assert found == [{"n": 1}, {"n": 2}]
    assert stream.cut_at is not None


def test_bytes_behind_a_list_are_counted():
    assert read('[{"n": 1}]\n [{"n": 2}] ')[1].trailing_bytes == len('[{"n": 2}]')


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk_bytes", [7, 100, 10_000])
def test_a_damaged_event_costs_one_event(indent, chunk_bytes):
    events = [{"n": index, "name": "x"} for index in range(40)]
    content = json.dumps({"traceEvents": events}, indent=indent)
    damaged = content.replace('"n": 20', '"n": 20 20')
    found, stream = read(damaged, chunk_bytes)
    assert found == events[:20] + events[21:]
    assert stream.lost == 1
    assert damaged[stream.lost_at :].lstrip(", \n{").startswith('"n": 20 20')


@pytest.mark.parametrize("chunk_bytes", [100, 10_000])
def test_a_stray_quote_costs_one_event_where_the_file_is_indented(chunk_bytes):
    events = [{"n": index, "name": "operator[] {lambda()#1}"} for index in range(60)]
    content = json.dumps({"traceEvents": events, "z": 1}, indent=2)
    damaged = content.replace('"n": 30', '"n": "30')
    found, stream = read(damaged, chunk_bytes)
    assert found == events[:30] + events[31:]
    assert (stream.lost, json.loads(stream.document)) == (1, {"traceEvents": [], "z": 1})


def test_an_event_that_decodes_only_tolerantly_is_kept_in_its_place():
    content = '[{"n": "a"},\n{"n": "b\tc"},\n{"n": "d"}]'
    found, stream = read(content)
    assert found == [{"n": "a"}, {"n": "b\tc"}, {"n": "d"}]
    assert stream.lost == 0


def test_nesting_without_end_costs_its_event_only():
    bomb = '{"n": ' + "[" * 100_000 + "]" * 100_000 + "}"
    found, stream = read('[{"n": 1},\n' + bomb + ',\n{"n": 2}]', 1000)
    assert found == [{"n": 1}, {"n": 2}]
    assert stream.lost == 1


def test_a_document_without_events_is_named():
    with pytest.raises(ReadError, match=r"made\.json: JSON without a list of trace events"):
        read('{"schemaVersion": 1, "other": []}')


def test_a_document_cut_before_its_events_is_named():
    with pytest.raises(ReadError, match="ends after 20 bytes, before its first event"):
        read('{"schemaVersion": 1,')


def test_a_header_too_large_to_be_one_is_refused(monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_DOCUMENT_BYTES", 1000)
    with pytest.raises(ReadError, match="no trace events in its first"):
        read('{"a": "' + "x" * 5000)
    with pytest.raises(ReadError, match="behind the trace events"):
        read('{"traceEvents": [], "a": "' + "x" * 5000)


def test_an_event_too_large_to_be_one_is_refused(monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_ELEMENT_BYTES", 1000)
    with pytest.raises(ReadError, match=r"no end within .* of the event at byte 11"):
        read('[{"n": 1},\n{"n": "' + "x" * 5000)


def test_reading_goes_on_behind_an_event_whose_end_cannot_be_found(monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_ELEMENT_BYTES", 300)
    lines = [f'  {{\n    "n": {number}\n  }}' for number in range(40)]
    lines[5] = '  {\n    "n": "5\n  }'
    lines[6:] = [line.replace('"n"', '"no brackets here"') for line in lines[6:]]
    found, stream = read("[\n" + ",\n".join(lines) + "\n]", 40)
    assert [next(iter(event.values())) for event in found] == [number for number in range(40) if number != 5]
    assert stream.lost == 1


def naive_elements(data: str):
    """What json_scan.elements finds, one character at a time."""
    starts, ends, depth, in_text, escaped = [], [], 0, False, False
    for position, character in enumerate(data):
        if in_text:
            in_text = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_text = True
        elif character in "{[":
            if depth == 0:
                starts.append(position)
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                ends.append(position + 1)
            if depth < 0:
                return starts[: len(ends)], ends, position
    return starts[: len(ends)], ends, -1


@settings(max_examples=120)
@given(st.lists(objects, max_size=6), forms, st.integers(0, 200))
def test_the_scanner_agrees_with_one_that_looks_at_each_character(events, form, cut):
    data = json.dumps(events, ensure_ascii=False, **form)[1:][: None if cut > 150 else cut]
    found = elements(data.encode())
    starts, ends, close = naive_elements(data)
    to_bytes = [len(data[:position].encode()) for position in range(len(data) + 1)]
    assert found.starts.tolist() == [to_bytes[position] for position in starts]
    assert found.ends.tolist() == [to_bytes[position] for position in ends]
    assert found.close == (to_bytes[close] if close >= 0 else -1)


def test_backslashes_in_front_of_a_quote_are_counted():
    assert elements(rb'{"a": "\\"}, {"b": "\""}').ends.tolist() == [11, 24]


def test_an_object_without_the_key_has_no_start():
    assert array_start(b'{"other": [{}], "traceEvents" : "none"}', b"traceEvents") == -1
