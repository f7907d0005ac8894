"""Text pages of Nsight Compute as rows of its CSV: a line for each line, so that numbers of lines stay true.

What is no row becomes an empty line, messages of the tool's own stay, a heading that needs it becomes the CSV header.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from ds2prof.parsers.ncu_log_lines import heading
from ds2prof.parsers.nvprof_text_lines import batches

_PROCESS: Final = re.compile(r"\[([0-9]{1,10})\] (.{1,4096})@(\S{1,255})\s*")
_SECTION: Final = re.compile(r"\s{2,8}Section: (\S.{0,200}?)\s*")
_DASHES: Final = re.compile(r"\s{0,8}-{2,}(?: -{2,})+\s*")
_GROUP: Final = re.compile(r"-+")
_RULE: Final = re.compile(r" {2,8}(OPT|INF|WRN|ERR)  {1,5}(\S.*)")
_GOES_ON: Final = re.compile(r" {8,14}(\S.*)")
_SPEEDUP: Final = re.compile(r"Est\.( Local)? Speedup: ([0-9.]{1,12})% *")
_MAX_RULE_CHARS: Final = 1 << 16
_FULL_WIDTH: Final = 120
"""How wide the tool prints a rule's text; a word that fills a line to its end goes on in the next."""

_IDENTITY: Final = ("Process ID", "Process Name", "Host Name")
_ROW: Final = ("Section Name", "Metric Name", "Metric Unit")
_RULES: Final = ("Rule Name", "Rule Type", "Rule Description", "Estimated Speedup Type", "Estimated Speedup")

SECTIONS: Final = {
    "GPU Speed Of Light": "SpeedOfLight",
    "GPU Speed Of Light Roofline Chart": "SpeedOfLight_RooflineChart",
    "GPU Speed Of Light Throughput": "SpeedOfLight",
    "GPU and Memory Workload Distribution": "WorkloadDistribution",
    "Compute Workload Analysis": "ComputeWorkloadAnalysis",
    "Instruction Statistics": "InstructionStats",
    "Launch Statistics": "LaunchStats",
    "Memory Workload Analysis": "MemoryWorkloadAnalysis",
    "Occupancy": "Occupancy",
    "PM Sampling": "PmSampling",
    "Scheduler Statistics": "SchedulerStats",
    "Source Counters": "SourceCounters",
    "Warp State Statistics": "WarpStateStats",
}
"""Section as displayed -> its identifier, which the CSV names for a rule."""


class Translated(io.RawIOBase):
    """A stream of CSV that holds what the text pages of another stream hold."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._chunks = _chunks(stream)
        self._left = b""

    def readable(self) -> bool:
        """That it can be read."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """How many of the next bytes were put into the buffer."""
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        data, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the other stream too."""
        self._stream.close()
        super().close()


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    pages = _Pages()
    for batch in batches(stream):
        if batch.is_ended:
            yield "".join(f"{pages.row(line)}\n" for line in batch.lines).encode("utf-8", "replace")
        else:
            yield pages.last_row(batch.lines[0]).encode("utf-8", "replace")
    yield pages.closing().encode("utf-8", "replace")


class _Pages:
    """Lines in, rows out."""

    def __init__(self) -> None:
        self._process: tuple[str, ...] = ()
        self._header: tuple[str, ...] = ()
        self._launch: tuple[str, ...] = ()
        self._launches = 0
        self._section = ""
        self._spans: list[tuple[int, int]] = []
        self._rule: list[str] = []
        self._rule_chars = 0
        self._is_glued = False
        self._kind = ""

    def row(self, line: str) -> str:
        """The row for a line; empty where it is none.

        A rule is known to its end when something else follows. Its row takes that line's place: an empty one, dashes
        or a heading, which are no rows, but for a heading that needs a header.
        """
        if self._rule:
            return self._after_rule(line)
        return self._row(line)

    def last_row(self, line: str) -> str:
        """What is left of the last line of a stream without a line end: the beginning of a row, if it was one."""
        row = self.row(line)
        return row[: row.rfind('","') + 3] if self._spans and row else row

    def closing(self) -> str:
        """The row of a rule that the stream ends with."""
        return f"{self._rule_row()}\n" if self._rule else ""

    def _after_rule(self, line: str) -> str:
        more = _GOES_ON.match(line)
        if more is not None and self._rule_chars < _MAX_RULE_CHARS:
            self._add(more[1], line)
            return ""
        row = self._rule_row()
        rest = self._row(line)
        return f"{row}\n{rest}" if row and rest else row or rest

    def _row(self, line: str) -> str:
        if line.startswith("==") or "==ERROR==" in line:
            return line.replace('","', "','")  # which would be taken for a row
        process = _PROCESS.fullmatch(line) if line.startswith("[") else None
        if process is not None:
            self._process = process.groups()
            return ""
        found = heading(line)
        if found is not None:
            return self._enter(found)
        if not self._launch:
            return ""
        return self._in_launch(line)

    def _in_launch(self, line: str) -> str:
        section = _SECTION.fullmatch(line)
        if section is not None:
            self._section, self._spans = section[1], []
            return ""
        if _DASHES.fullmatch(line):
            spans = [match.span() for match in _GROUP.finditer(line)]
            self._spans = spans if len(spans) in (3, 5) else []
            return ""
        rule = _RULE.fullmatch(line)
        if rule is not None:
            self._spans = []
            self._rule, self._rule_chars, self._kind = [], 0, rule[1]
            self._add(rule[2], line)
            return ""
        return self._metric(line) if self._spans else ""

    def _enter(self, found: re.Match[str]) -> str:
        """A launch or kernel begins; its header, if that is not the one before."""
        facts = found.groupdict()
        self._section, self._spans = "", []
        identity = dict(zip(_IDENTITY, self._process, strict=True)) if self._process else {}
        if facts.get("calls"):
            columns = ("Kernel Name", "Block Size", "Grid Size", "Device Id", "Invocations")
            values = tuple(facts[name] or "" for name in ("name", "block", "grid", "device", "calls"))
            header = (*identity, *columns, *_ROW, "Minimum", "Maximum", "Average")
            self._launch = (*identity.values(), *values)
        else:
            known = {
                "Kernel Time": facts["time"],
                "Context": facts["context"],
                "Stream": facts["stream"],
                "Block Size": facts["block"],
                "Grid Size": facts["grid"],
                "Device": facts["device"],
                "CC": facts["cc"],
            }
            told = {name: value for name, value in known.items() if value is not None}
            header = ("ID", *identity, "Kernel Name", *told, *_ROW, "Metric Value", *_RULES)
            self._launch = (str(self._launches), *identity.values(), facts["name"] or "", *told.values())
            self._launches += 1
        if header == self._header:
            return ""
        self._header = header
        return _csv(header)

    def _metric(self, line: str) -> str:
        cells = self._cells(line)
        if cells is None or not cells[0] or cells[0] == "Metric Name":
            return ""
        return _csv((*self._launch, self._section, *cells))

    def _cells(self, line: str) -> list[str] | None:
        """The cells under the dashes; None where the line does not keep to them."""
        begins = [begin for begin, _ in self._spans]
        if len(line) < begins[-1] or line[: begins[0]].strip() or any(line[begin - 1] != " " for begin in begins[1:]):
            return None
        ends = [*(begin - 1 for begin in begins[1:]), len(line)]
        cells = [line[begin:end].strip() for begin, end in zip(begins, ends, strict=True)]
        return cells if cells[-1] else None

    def _add(self, text: str, line: str) -> None:
        """A line of a rule's text."""
        glue = "" if self._is_glued or not self._rule else " "
        self._is_glued = len(line) >= _FULL_WIDTH and not line.endswith(" ")
        self._rule.append(glue + text.strip())
        self._rule_chars += len(text)

    def _rule_row(self) -> str:
        text, self._rule, self._is_glued = "".join(self._rule), [], False
        if "Invocations" in self._header:
            return ""
        speedup = _SPEEDUP.match(text)
        estimate = ("", "") if speedup is None else ("local" if speedup[1] else "global", speedup[2])
        text = text if speedup is None else text[speedup.end() :]
        section = SECTIONS.get(self._section, self._section)
        return _csv((*self._launch, section, "", "", "", section, self._kind, text, *estimate))


def _csv(cells: Iterable[str]) -> str:
    """The cells as a row of CSV."""
    return '"' + '","'.join(cell.replace('"', '""') for cell in cells) + '"'
