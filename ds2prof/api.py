"""What users of Python hold in their hands: profiles that answer questions, and answers that show themselves.

    import ds2prof
    p = ds2prof.read("measurements/torch_bs4.json.gz")
    p.kernels            a table of the file, as a pandas DataFrame
    p.ledger()           an answer: shows itself, and .to_pandas() gives it as a DataFrame

The classes are thin. The model (:class:`ds2prof.tables.Profile`) lies beneath all analyses and knows none of them, so
what asks analyses cannot be in it; a :class:`Profile` here *is* one of those, and goes wherever one of those does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from ds2prof import tables
from ds2prof.analysis import answers, questions
from ds2prof.analysis import findings as causes
from ds2prof.analysis.ledger_account import Per
from ds2prof.analysis.windows import TimeWindow, time_window
from ds2prof.errors import MissingDataError, ReadError
from ds2prof.report import rich
from ds2prof.report.text import cleaned
from ds2prof.schemas import SCHEMAS

if TYPE_CHECKING:
    import pandas as pd

By = Literal[
    "allocation",
    "annotation",
    "api",
    "bandwidth",
    "bound",
    "class",
    "collective",
    "copy",
    "core",
    "device",
    "energy",
    "fp32",
    "gain",
    "iteration",
    "kernel",
    "latency",
    "launch",
    "layer",
    "ledger",
    "memory",
    "metric",
    "name",
    "occupancy",
    "path",
    "phase",
    "queue",
    "range",
    "rank",
    "roofline",
    "straggler",
    "stream",
    "throughput",
    "wait",
    "wave",
]
"""What a row of an answer can be: the choices of ``ds2prof parse --by``."""
BYS: Final[tuple[By, ...]] = get_args(By)
RooflineKey = Literal["name", "class", "layer", "phase"]


@dataclass(frozen=True, repr=False)
class Answer(answers.Answer):
    """Rows by one key, stored as columns; None is unknown. In a notebook it shows its first rows and its notes.

    Attributes:
        by: the key: core, name, phase...
        columns: column name -> values; names end in their unit, ratios are in 0..1.
        notes: what a reader of the numbers must know, a line each.
        others: further tables of the same question, where it has several.
    """

    others: tuple[Answer, ...] = field(default=())

    @classmethod
    def of(cls, found: answers.Answer, others: Sequence[answers.Answer] = ()) -> Answer:
        """The answer of an analysis, as one that shows itself."""
        return cls(found.by, found.columns, found.notes, tuple(map(cls.of, others)))

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame of all rows; whole numbers of which some are unknown are ``Int64``, and unknown is missing.

        ``frame.attrs`` has ``by`` and ``notes``.
        """
        import pandas as pd

        frame = pd.DataFrame({name: _series(values) for name, values in self.columns.items()})
        frame.attrs.update(by=self.by, notes=list(self.notes))
        return frame

    def head(self, count: int = 5) -> Answer:
        """The first rows alone."""
        return Answer(self.by, {name: values[:count] for name, values in self.columns.items()}, self.notes, self.others)

    def __getitem__(self, column: str) -> list[Any]:
        """The values of one column; None is unknown."""
        return list(self.columns[column])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows())

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.columns)

    def __repr__(self) -> str:
        return rich.answer_text(self)

    def _repr_html_(self) -> str:
        return rich.answer_html(self)


def _series(values: Sequence[Any]) -> pd.Series[Any]:
    import pandas as pd

    known = [value for value in values if value is not None]
    if known and len(known) < len(values) and all(type(value) is int for value in known):
        return pd.Series(list(values), dtype="Int64")
    if known and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        return pd.Series([float("nan") if value is None else value for value in values])
    return pd.Series(list(values), dtype=object)


class Totals(dict[str, Any]):
    """What is true of a profile as a whole, by name: launches, busy and window times, utilization; None is unknown."""

    def __repr__(self) -> str:
        return rich.pairs_text(rich.totals_pairs(self))

    def _repr_html_(self) -> str:
        return rich.pairs_html(rich.totals_pairs(self))


class Findings(tuple[causes.Finding, ...]):
    """What cost time besides computing, the dearest first; each has ``cause``, ``dur_ns``, ``share`` and ``text``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(f"{number}. {cleaned(each.text)}" for number, each in enumerate(self, start=1))

    def _repr_html_(self) -> str:
        columns = [
            ("cause", [each.cause for each in self]),
            ("time", [rich.value_text("dur_ns", each.dur_ns) for each in self]),
            ("of the window", [rich.value_text("share", each.share) for each in self]),
            ("where", [each.where or "" for each in self]),
        ]
        return rich.html_table(columns, below=[each.text for each in self[:3]])


class Profile(tables.Profile):
    """What one tool saw of one process: the tables of the file, and the questions that they answer.

    A table (:attr:`kernels`, :attr:`ranges`...) is a pandas DataFrame, made anew each time it is asked for: keep it in
    a variable; changing it changes no answer. Answers (:meth:`core`, :meth:`ledger`, :meth:`by`...) come from the
    columns of the file, not from those DataFrames. What a file cannot tell raises ``ds2prof.errors.MissingDataError``,
    whose one line says what to do.
    """

    @classmethod
    def adopt(cls, found: tables.Profile) -> Profile:
        """The profile of a reader as one that answers questions; both share what was read."""
        made = cls.__new__(cls)
        made.__dict__ = found.__dict__
        return made

    def core(self) -> Answer:
        """Utilization of each pipe while kernels ran: its share of its own peak, weighted by cycles.

        Formula: sum(cycles x pct) / sum(cycles). Blind spot: idle time does not enter, and counters are read under
        replay.

        Raises:
            MissingDataError: the file holds no pipe counters; the message says how to collect them.
        """
        return self.by("core")

    def ledger(self, per: Per | None = None) -> Answer:
        """Where the window went: integer ns by cause that sum to it exactly, for each device.

        Args:
            per: ``iteration`` or ``phase`` for a ledger of each of them.

        Raises:
            MissingDataError: the profile cannot be accounted for in time.
        """
        return self.by("ledger", per=per)

    def roofline(self, key: RooflineKey = "name") -> Answer:
        """Kernels beneath their roofs, the largest gain first: work, rate, attainable time.

        Raises:
            MissingDataError: neither shapes nor counters tell the kernels' work.
        """
        from ds2prof.analysis.roofline import tables as roofs

        return Answer.of(roofs.roofline(self, key))

    def by(self, key: By, *, per: Per | None = None) -> Answer:
        """The answer that ``ds2prof parse --by KEY`` prints.

        Args:
            key: what a row is: ``name``, ``class``, ``phase``, ``layer``, ``iteration``, ``stream``, ``gain``...
            per: with ``ledger``, a ledger for each ``iteration`` or ``phase``.

        Raises:
            MissingDataError: the file lacks what the answer is made from.
        """
        if key not in BYS:
            raise ValueError(f"by({key!r}): not one of {', '.join(BYS)}")
        self.require(*questions.tables_for(key))
        first, *others = questions.answers(self, key, per=per)
        return Answer.of(first, others)

    def findings(self) -> Findings:
        """What cost time besides computing, the dearest first, in words.

        Raises:
            MissingDataError: the profile cannot be accounted for in time.
        """
        return Findings(causes.findings(self))

    def join(self, counters: tables.Profile, *, sm_clock_hz: float | None = None, by: str = "core") -> Answer:
        """The counters of a replayed capture put on the launches of this timeline (docs/JOIN.md).

        Args:
            counters: what Nsight Compute collected of the same program.
            sm_clock_hz: the SM clock of the timeline; where it is not given and the file does not tell, it is assumed
                between base and boost and the answer has bounds.
            by: what a row is: ``core``, ``iteration``, ``phase``, ``layer``, ``name`` or ``class``.

        Raises:
            MissingDataError: one side is no timeline, the other has no counters, or nothing matches.
        """
        from ds2prof.analysis import join

        joined = join.join(self, counters, sm_clock_hz=sm_clock_hz)
        return Answer.of(join.table(joined, by), [join.unmatched(joined)])

    @property
    def totals(self) -> Totals:
        """Launches, busy and window times, GPU compute utilization; of a run log its rates and the mean step."""
        self.require(*questions.tables_for(None))
        return Totals(questions.totals_of(self))

    @property
    def window(self) -> TimeWindow | None:
        """The stretch of time that utilization divides by, and where it was taken from; None without real times."""
        return time_window(self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *SCHEMAS})

    def __repr__(self) -> str:
        held = ", ".join(f"{len(table):,} {name}" for name, table in self._tables.items() if len(table))
        what = cleaned(f"{self.meta.file}: {self.meta.tool}")
        return f"<ds2prof.Profile {what}; {held or 'nothing read'}>"

    def _repr_html_(self) -> str:
        meta = self.meta
        told = {
            "tool": " ".join(part for part in (meta.tool, meta.tool_version) if part),
            "format": " ".join(part for part in (meta.format, meta.dialect) if part),
            "times": {"real": "real", "replay": "of replayed launches, not of the run"}.get(meta.times or "", "none"),
            "read so far": ", ".join(f"{name} {len(table):,}" for name, table in self._tables.items() if len(table)),
            **{name: str(value) for name, value in (meta.run or {}).items() if isinstance(value, (str, int, float))},
        }
        pairs = {name: text for name, text in told.items() if text}
        return rich.pairs_html(pairs, title=f"Profile {meta.file}", below=self.warnings)

    if TYPE_CHECKING:
        # The tables of the file. At run time they come from __getattr__, which reads what is asked for; they stand
        # here so that an editor completes them and mypy knows what they are. A test holds them to the schemas.

        @property
        def kernels(self) -> pd.DataFrame:
            """Kernels, one row a launch (or a sum): name, device, stream, start_ns, dur_ns, grid, block..."""

        @property
        def copies(self) -> pd.DataFrame:
            """Copies and sets of memory: name, kind, stream, start_ns, dur_ns, size_bytes..."""

        @property
        def api(self) -> pd.DataFrame:
            """Calls of the host: CUDA's runtime and driver, cuDNN, the operating system."""

        @property
        def ops(self) -> pd.DataFrame:
            """Operators of the framework, with shapes where they were recorded."""

        @property
        def ranges(self) -> pd.DataFrame:
            """Ranges named by the program: iteration, phase, layer, window, user."""

        @property
        def modules(self) -> pd.DataFrame:
            """Calls of a network's modules."""

        @property
        def counters(self) -> pd.DataFrame:
            """Hardware counters: launch (row of ``kernels``), metric, unit, value."""

        @property
        def samples(self) -> pd.DataFrame:
            """Readings over time: metric, unit, value, start_ns."""

        @property
        def rules(self) -> pd.DataFrame:
            """What Nsight Compute's rules say of a launch."""

        @property
        def collectives(self) -> pd.DataFrame:
            """What the program asked the communication library for."""

        @property
        def iterations(self) -> pd.DataFrame:
            """Iterations of a run log: wall_ns, samples, audio_s, padded_s, loss."""

        @property
        def allocations(self) -> pd.DataFrame:
            """Allocations and releases of memory on the timeline."""

        @property
        def memory(self) -> pd.DataFrame:
            """What a device held at a moment of an iteration, by layer and category."""

        @property
        def overhead(self) -> pd.DataFrame:
            """What the profiler itself took."""

        @property
        def spans(self) -> pd.DataFrame:
            """What the tool states to have watched."""

        @property
        def devices(self) -> pd.DataFrame:
            """The devices: name, chip, SMs, memory, clocks."""

        @property
        def processes(self) -> pd.DataFrame:
            """The processes: name, host, rank."""

        @property
        def threads(self) -> pd.DataFrame:
            """The threads and their names."""


def read_all(
    path: str | Path,
    *,
    tables: Sequence[str] = ("kernels",),
    refused: Callable[[ReadError], None] | None = None,
) -> Iterator[Profile]:
    """The profiles behind a path: a file, a folder, an archive of ranks, ``-`` for standard input.

    Args:
        path: what a profiler wrote, or a folder of that.
        tables: what to read at once; the rest is read when it is asked for.
        refused: told of each file that cannot be read; without it the first one raises.

    Raises:
        ReadError: a file cannot be read as what it is, or is of no known format.
    """
    from ds2prof import parsers

    for found in parsers.read_all(path, tables=tables, refused=refused):
        yield Profile.adopt(found)


def read(path: str | Path, *, tables: Sequence[str] = ("kernels",)) -> Profile:
    """The profile in a file of nvprof, Nsight Compute, Nsight Systems, PyTorch's profiler, rocprof, nvidia-smi or DCGM.

    Args:
        path: the file; its format is found from its bytes.
        tables: what to read at once; the rest is read when it is asked for.

    Raises:
        ReadError: it cannot be read, or holds several profiles (:func:`read_all` gives them).
    """
    from ds2prof import parsers

    return Profile.adopt(parsers.read(path, tables=tables))


__all__ = ["Answer", "Findings", "MissingDataError", "Profile", "Totals", "read", "read_all"]
