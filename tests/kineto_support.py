"""Traces made in memory, read back, and compared: for the tests of the PyTorch trace reader."""

from __future__ import annotations

import io
import json

from ds2prof.parsers import torch_kineto
from ds2prof.parsers.sources import HEAD_BYTES, Source
from ds2prof.schemas import SCHEMAS

ALL = frozenset(SCHEMAS)
KEPT_META = ("tool", "tool_version", "dialect", "domain", "times", "time_resolution_ns", "clock", "rank", "facts")


def source(content: bytes, name: str = "trace.json") -> Source:
    return Source(name, content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def load(content, names=ALL, *, chunk_bytes=torch_kineto.CHUNK_BYTES):
    """What one pass over a trace gives; the trace as bytes, text, a list of events or a whole document."""
    if isinstance(content, list):
        content = {"schemaVersion": 1, "traceEvents": content}
    if isinstance(content, dict):
        content = json.dumps(content)
    if isinstance(content, str):
        content = content.encode()
    return torch_kineto.load(source(content), frozenset(names), chunk_bytes=chunk_bytes)


def plain(loaded) -> dict:
    """Tables, meta and warnings as plain values that JSON can hold; tables without rows are left out."""
    return {
        "meta": {name: getattr(loaded.meta, name) for name in KEPT_META},
        "tables": {
            name: {column: values.tolist() for column, values in sorted(table.columns.items())}
            for name, table in sorted(loaded.tables.items())
            if len(table)
        },
        "warnings": list(loaded.warnings),
    }


def column(loaded, table, name):
    return loaded.tables[table][name].tolist()


def event(category, name, ts=1.0, dur=1.0, **more):
    return {"ph": "X", "cat": category, "name": name, "pid": 0, "tid": 7, "ts": ts, "dur": dur, **more}


def kernel(name="k", ts=1.0, dur=1.0, **args):
    return event("kernel", name, ts, dur, args={"device": 0, "stream": 7, "correlation": 1, **args})


def op(name="aten::mm", ts=1.0, dur=1.0, **args):
    return event("cpu_op", name, ts, dur, pid=50, tid=51, args=args)
