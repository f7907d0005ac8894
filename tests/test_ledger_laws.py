"""The ledger and the waits of streams against a count of every single nanosecond, on random timelines."""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ds2prof.analysis import ledger, ledger_sets, ranks, totals, waits
from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.ledger_account import account
from ds2prof.errors import MissingDataError
from ds2prof.tables import Meta
from tests.profiles import profile

END = 60
CAUSES = (
    *("compute", "exposed_communication", "exposed_copy", "queued", "launch_call", "profiler_overhead", "synchronize"),
    *("allocation", "module_load", "data", "host", "head", "tail", "unknown"),
)
LATE = {"cudaStreamSynchronize": "synchronize", "cudaMemcpy": "synchronize"}
CALLS = ("cudaLaunchKernel", "cudaStreamSynchronize", "cudaMemcpy", "cudaMemcpyAsync", "cudaMalloc", "cuModuleLoad")
OVERHEADS = ("Buffer Flush", "Lazy Function Loading", "Command Buffer Full")

times = st.integers(0, END)
lengths = st.one_of(st.integers(0, 4), st.integers(0, 20))
devices = st.sampled_from((0, 0, 0, 1, None))
processes = st.sampled_from((1, 1, 2))
threads = st.sampled_from((1, 1, 2))
correlations = st.one_of(st.none(), st.integers(0, 7))

kernel = st.tuples(
    st.sampled_from(("k", "l", "ncclDevKernel")), processes, devices, st.integers(1, 3), times, lengths, correlations
)
copy = st.tuples(
    st.just("c"),
    st.sampled_from(("memcpy", "memset")),
    processes,
    devices,
    st.sampled_from((1, 2, None)),
    times,
    lengths,
    correlations,
    st.sampled_from(("pageable", "pinned", None)),
)
call = st.tuples(
    st.sampled_from(CALLS),
    st.sampled_from(("runtime", "runtime", "runtime", "sync")),
    processes,
    st.sampled_from((1, 1, 1, 2, None)),
    times,
    lengths,
    st.one_of(st.none(), st.integers(0, 7)),
)
overhead = st.tuples(
    st.sampled_from(OVERHEADS), st.sampled_from((1, 2, None)), st.sampled_from((1, 2, None)), times, lengths
)
phase = st.tuples(st.sampled_from(("data", "data", "forward", "loss")), processes, threads, times, lengths)
iteration = st.tuples(st.integers(1, 4), processes, threads, times, lengths)
loader = st.tuples(
    st.sampled_from(("enumerate(DataLoader)#x.__next__", "aten::mm")), processes, threads, times, lengths
)
window = st.one_of(st.none(), st.tuples(st.integers(0, 30), st.integers(1, 40)))


@st.composite
def timelines(draw):
    lists = {
        "kernels": draw(st.lists(kernel, max_size=8)),
        "copies": draw(st.lists(copy, max_size=4)),
        "api": draw(st.lists(call, max_size=10)),
        "overhead": draw(st.lists(overhead, max_size=4)),
        "phases": draw(st.lists(phase, max_size=5)),
        "iterations": draw(st.lists(iteration, max_size=4)),
        "ops": draw(st.lists(loader, max_size=4)),
        "window": draw(window),
        "resolution": draw(st.sampled_from((None, 1, 2, 5))),
    }
    if draw(st.booleans()) and lists["kernels"]:  # duplicates, row for row
        lists["kernels"].append(lists["kernels"][0])
    return lists


def made(lists):
    rows = [("w", "window", None, 1, 1, *lists["window"])] if lists["window"] else []
    rows += [(f"p:{value}", "phase", value, *rest) for value, *rest in lists["phases"]]
    rows += [(f"step {value}", "iteration", str(value), *rest) for value, *rest in lists["iterations"]]
    return profile(
        meta=Meta(file="made.json", tool="test", format="test", time_resolution_ns=lists["resolution"]),
        kernels=(("name", "process", "device", "stream", "start_ns", "dur_ns", "correlation"), lists["kernels"]),
        copies=(
            *(("name", "kind", "process", "device", "stream", "start_ns", "dur_ns", "correlation", "source_kind"),),
            lists["copies"],
        ),
        api=(("name", "domain", "process", "thread", "start_ns", "dur_ns", "correlation"), lists["api"]),
        overhead=(("name", "process", "thread", "start_ns", "dur_ns"), lists["overhead"]),
        ranges=(("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"), rows),
        ops=(("name", "process", "thread", "start_ns", "dur_ns"), lists["ops"]),
    )


class Naive:
    """The definitions, read off row by row and nanosecond by nanosecond."""

    def __init__(self, lists):
        self.lists = lists
        self.operations = [
            {"set": "N" if name.startswith("nccl") else "X", "at": (0, row), "process": process, "device": device}
            | {"stream": stream, "start": start, "end": start + dur, "launch": self.launch(process, correlation)}
            for row, (name, process, device, stream, start, dur, correlation) in enumerate(lists["kernels"])
        ]
        self.operations += [
            {"set": "C", "at": (1, row), "process": process, "device": device, "stream": stream}
            | {"start": start, "end": start + dur, "launch": self.launch(process, correlation)}
            for row, (_, _, process, device, stream, start, dur, correlation, _) in enumerate(lists["copies"])
        ]
        self.blocking = {
            self.launch(process, correlation)
            for _, _, process, _, _, _, _, correlation, memory in lists["copies"]
            if memory == "pageable"
        }

    def launch(self, process, correlation):
        """The row of the call that launched it."""
        if not correlation:
            return None
        rows = [
            (start, row)
            for row, (_, domain, of, _, start, _, number) in enumerate(self.lists["api"])
            if (of, number) == (process, correlation) and domain != "sync"
        ]
        return min(rows)[1] if rows else None

    def window(self, device):
        """(start, end) from the first source that is no mere moment; None where none is."""
        if self.lists["window"]:
            start, dur = self.lists["window"]
            return start, start + dur
        steps = [(start, start + dur) for *_, start, dur in self.lists["iterations"]]
        every = [(op["start"], op["end"]) for op in self.operations]
        own = [(op["start"], op["end"]) for op in self.operations if op["device"] == device]
        for rows, asked in ((steps, steps), (every, own)):
            if rows and min(rows)[0] < max(end for _, end in rows):
                return min(asked)[0], max(end for _, end in asked)
        return None

    def inside(self, device):
        lo, hi = self.window(device)
        return [
            op
            for op in self.operations
            if op["device"] == device and op["start"] < hi and (op["end"] > lo or op["start"] >= lo)
        ]

    def open_phase(self, process, thread, now):
        """The value of the innermost phase open then on the thread, else in the process."""
        for own in (True, False):
            rows = [
                (start, -(start + dur), row, value)
                for row, (value, of, on, start, dur) in enumerate(self.lists["phases"])
                if of == process and (on == thread or not own) and start <= now < start + dur
            ]
            if rows:
                return max(rows)[3]
        return None

    def late(self, process, thread, now, since):
        """What a late thread was doing, of a gap that began at ``since``."""
        if thread is None:
            return "unknown"

        def overheads(names):
            return any(
                name in names
                and start <= now < start + dur
                and ((on == thread and of == process) or (on is None and of in (None, process)))
                for name, of, on, start, dur in self.lists["overhead"]
            )

        mine = [
            (name, row, start, start + dur)
            for row, (name, domain, of, on, start, dur, _) in enumerate(self.lists["api"])
            if of == process and on == thread and domain != "sync"
        ]
        if overheads(("Buffer Flush",)):
            return "profiler_overhead"
        for name, row, start, end in mine:
            waits_ = name in LATE or (name == "cudaMemcpyAsync" and row in self.blocking)
            if waits_ and start <= since < end and now < end:
                return "synchronize"
        if any(name == "cudaMalloc" and start <= now < end for name, _, start, end in mine):
            return "allocation"
        if overheads(("Lazy Function Loading",)) or any(
            name == "cuModuleLoad" and start <= now < end for name, _, start, end in mine
        ):
            return "module_load"
        fetching = any(
            name.startswith("enumerate") and of == process and on == thread and start <= now < start + dur
            for name, of, on, start, dur in self.lists["ops"]
        )
        return "data" if fetching or self.open_phase(process, thread, now) == "data" else "host"

    def ender(self, operations, end):
        def rank(op):
            begun = float("inf") if op["launch"] is None else self.lists["api"][op["launch"]][4]
            return begun, op["at"]

        return min((op for op in operations if op["start"] == end), key=rank)

    def of(self, device):
        """[(ns, cause, the operation that ended the wait or None)] of the device's window."""
        lo, hi = self.window(device)
        operations = self.inside(device)
        found = []
        gaps = {}
        for now in range(lo, hi):
            sets = {op["set"] for op in operations if op["start"] <= now < op["end"]}
            before = [op["end"] for op in operations if op["end"] <= now]
            after = [op["start"] for op in operations if op["start"] > now]
            if sets:
                busy = "compute" if "X" in sets else "exposed_communication" if "N" in sets else "exposed_copy"
                found.append([now, busy, None])
            elif not operations or not any(op["start"] <= now for op in operations):
                found.append([now, "head", self.ender(operations, min(after)) if after else None])
            elif not after:
                found.append([now, "tail", None])
            else:
                since, until = max(before), min(after)
                op = self.ender(operations, until)
                found.append([now, self.cause(op, now, since, until), op])
                gaps.setdefault((since, until), []).append(found[-1])
        for (since, until), rows in gaps.items():
            if until - since < 2 * (self.lists["resolution"] or 0):
                counts = Counter(row[1] for row in rows)
                most = max(CAUSES, key=lambda cause: (counts[cause], -CAUSES.index(cause)))
                for row in rows:
                    row[1] = most
        return found

    def cause(self, op, now, since, until):
        if op["launch"] is None:
            return "unknown"
        _, _, process, thread, start, dur, _ = self.lists["api"][op["launch"]]
        if start > until:
            return "unknown"
        if now >= start + dur:
            return "queued"
        return "launch_call" if now >= start else self.late(process, thread, now, since)


def answered(lists, **options):
    """(the profile, the answer); None for what has no ledger."""
    one = made(lists)
    try:
        return one, ledger.idle_ledger(one, **options)
    except MissingDataError:
        return None


fast = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@fast
@given(timelines())
def test_every_nanosecond_has_the_cause_that_the_definitions_give_it(lists):
    found = answered(lists)
    naive = Naive(lists)
    if found is None:
        assert not naive.operations or naive.window(naive.operations[0]["device"]) is None
        return
    counted = Counter()
    for device in {op["device"] for op in naive.operations}:
        counted.update((device, cause) for _, cause, _ in naive.of(device))
    rows = {(row["device"], row["cause"]): row["dur_ns"] for row in found[1].rows()}
    assert {key: dur_ns for key, dur_ns in rows.items() if dur_ns} == counted
    assert {key[1] for key in rows} == set(CAUSES)


def naive_groups(lists, one, device, per):
    """(group, cause) -> ns as a fraction; the group None for what belongs to no key."""
    naive = Naive(lists)
    keys = belonging(one, per)
    label = dict(enumerate(ledger.labels(keys.keys, per)))

    def key_of(op):
        places = keys.kernels if op["at"][0] == 0 else keys.copies
        return label.get(int(places[op["at"][1]]))

    found = Counter()
    stretches = naive_steps(naive, device, key_of, keys.keys) if per == "iteration" else []
    for now, cause, op in naive.of(device):
        if per == "iteration":
            found[next((key for key, lo, hi in stretches if lo <= now < hi), None), cause] += Fraction(1)
        elif cause in CAUSES[:3]:
            kind = "XNC"[CAUSES.index(cause)]
            together = [op for op in naive.inside(device) if op["set"] == kind and op["start"] <= now < op["end"]]
            for each in together:
                found[key_of(each), cause] += Fraction(1, len(together))
        else:
            found[key_of(op) if op else None, cause] += Fraction(1)
    return found


def naive_steps(naive, device, key_of, keys):
    """[(key, start, end)] of the steps on the device, the earlier ones first; what overlaps is the earlier one's."""
    ends = {}
    for op in naive.operations:
        if op["device"] == device and key_of(op) is not None:
            ends[key_of(op)] = max(ends.get(key_of(op), op["end"]), op["end"])
    lo = min(naive.window(device)[0], *(naive.window(op["device"])[0] for op in naive.operations))
    steps = []
    for place, key in enumerate(map(int, keys)):
        start = lo if place == 0 else ends.get(key - 1) if int(keys[place - 1]) == key - 1 else None
        if key in ends and start is not None and start < ends[key]:
            steps.append((start, ends[key], place, key))
    return [(key, start, end) for start, end, _, key in sorted(steps)]


@fast
@given(timelines(), st.sampled_from(("iteration", "phase")))
def test_iterations_and_phases_share_the_ledger_out_and_sum_to_it(lists, per):
    found = answered(lists, per=per)
    if found is None:
        return
    one, answer = found
    whole = {(row["device"], row["cause"]): row["dur_ns"] for row in ledger.idle_ledger(one).rows()}
    sums, parts = Counter(), {}
    for row in answer.rows():
        sums[row["device"], row["cause"]] += row["dur_ns"]
        parts.setdefault(row["device"], {})[row[per], row["cause"]] = row["dur_ns"]
    assert {key: dur_ns for key, dur_ns in whole.items() if dur_ns} == +sums
    for device, of_device in parts.items():
        wanted = naive_groups(lists, one, device, per)
        for key in {*of_device, *wanted}:
            difference = abs(of_device.get(key, 0) - wanted[key])
            assert difference < 1 if key[1] in CAUSES[:3] and per == "phase" else difference == 0, key


@fast
@given(timelines())
def test_the_ledger_the_totals_and_the_sums_of_a_rank_are_one_account(lists):
    found = answered(lists)
    if found is None:
        return
    one, answer = found
    rows = {(row["device"], row["cause"]): row["dur_ns"] for row in answer.rows()}
    summed = totals.totals(one).as_dict()["devices"]
    assert {device for device, _ in rows} == {each["device"] for each in summed}
    for each in summed:
        causes = {cause: rows[each["device"], cause] for cause in CAUSES}
        assert sum(causes.values()) == each["window_ns"]
        assert causes["compute"] + causes["exposed_communication"] == each["window_busy_ns"]
    if not lists["kernels"]:
        return
    for lane in ranks.lanes_of(one):
        causes = {cause: rows[lane.device, cause] for cause in CAUSES}
        for cause in ("compute", "exposed_communication", "exposed_copy"):
            assert getattr(lane.sums, f"{cause}_ns") == causes.pop(cause)
        assert lane.sums.idle_ns == sum(causes.values())


@fast
@given(timelines())
def test_what_idle_time_is_blamed_on_is_the_idle_time(lists):
    found = answered({**lists, "resolution": None})
    if found is None:
        return
    for device in ledger_sets.worked_devices(found[0]):
        part = account(found[0], device)
        late = part.sums_ns[0, 5:11].tolist()
        for kind in ("range", "operator"):
            assert part.blame.sums[kind].ns.sum(axis=0)[5:11].tolist() == late
        assert part.blame.sums["ender"].ns.sum(axis=0)[1:11].tolist() == part.sums_ns[0, 1:11].tolist()


@fast
@given(timelines(), st.sampled_from(ledger.PERS))
def test_what_each_key_is_blamed_on_sums_to_the_whole_and_to_its_own_idle_time(lists, per):
    found = answered({**lists, "resolution": None})
    if found is None:
        return
    for device in ledger_sets.worked_devices(found[0]):
        part = account(found[0], device, per)
        for kind, sums in part.blame.sums.items():
            whole, by_name = Counter(), Counter()
            for name, row in zip([*sums.names, None], sums.ns.tolist(), strict=True):
                whole.update({(name, cause): ns for cause, ns in enumerate(row) if ns and cause not in range(3)})
            cells = defaultdict(Counter)
            for key, ns in (pair for each in part.grouped.parts[kind] for pair in zip(*each, strict=True)):
                cell, code = divmod(int(key), len(part.grouped.names[kind]))
                cells[cell][part.grouped.names[kind][code]] += int(ns)
            for cell, of_names in cells.items():
                by_name.update({(name, cell % len(CAUSES)): ns for name, ns in of_names.items()})
                assert of_names[part.grouped.tops(kind)[cell]] == max(of_names.values())
            assert by_name == whole
            if kind == "ender":
                idle = dict(enumerate(part.sums_ns.reshape(-1).tolist()))
                for cell, ns in idle.items():
                    if CAUSES[cell % len(CAUSES)] not in (*CAUSES[:3], "head", "tail"):
                        assert cells[cell].total() == ns


@fast
@given(timelines())
def test_every_nanosecond_of_a_stream_is_busy_or_has_one_wait(lists):
    one = made(lists)
    try:
        answer = waits.stream_waits(one)
    except MissingDataError:
        return
    naive = Naive(lists)
    streams = {
        (op["device"], op["stream"])
        for device in {op["device"] for op in naive.operations}
        for op in naive.inside(device)
    }
    assert {(row["device"], row["stream"]) for row in answer.rows()} == streams
    for row in answer.rows():
        wanted = naive_waits(naive, row["device"], row["stream"])
        assert {wait: row[f"{wait}_ns"] for wait in waits.WAITS if row[f"{wait}_ns"]} == wanted


def naive_waits(naive, device, stream):
    lo, hi = naive.window(device)
    everything = naive.inside(device)
    own = [op for op in everything if op["stream"] == stream]
    found = Counter()
    for now in range(lo, hi):
        after = [op["start"] for op in own if op["start"] > now]
        if any(op["start"] <= now < op["end"] for op in own):
            found["busy"] += 1
        elif not any(op["start"] <= now for op in own):
            found["head"] += 1
        elif not after:
            found["tail"] += 1
        else:
            op = naive.ender(own, min(after))
            if op["launch"] is None:
                found["unknown"] += 1
            elif now < naive.lists["api"][op["launch"]][4] + naive.lists["api"][op["launch"]][5]:
                found["not_launched"] += 1
            else:
                others = any(op["start"] <= now < op["end"] for op in everything)
                found["other_stream" if others else "queued"] += 1
    return found
