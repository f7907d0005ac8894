"""The PyTorch trace reader on real traces: against independent answers, and against a second way to read them."""

from __future__ import annotations

import csv
import gzip
import json
import re
import tarfile
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest

from ds2prof.errors import UnknownFormatError
from ds2prof.parsers import read, read_all
from ds2prof.schemas import SCHEMAS
from tests.conftest import corpus_folder

GPU = ("kernels", "copies")
HTA = "facebookresearch__HolisticTraceAnalysis__"
TRACELENS = {
    "h100__Falconsai_nsfw_image_detection__1016002": "h100_Falconsai_nsfw",
    "h100__facebook_timesformer-base-finetuned-k400__1016002": "h100_timesformer",
    "h100__gaunernst_bert-small-uncased__1016001": "h100_bert-small",
    "mi210__gpu_only_trace__gpu_only_trace": "mi210_gpu_only_trace",
    "mi300__gaunernst_bert-small-uncased__1016001": "mi300_bert-small",
    "torch_compile_triton__trace": "torch_compile_triton_trace",
}
COMMUNICATION = re.compile(r"ncclKernel|ncclDev")
TRACELENS_ERROR_NS = 60
SECOND_WAY_BYTES = 4 << 20
KERNEL_CATEGORIES = {"kernel", "Kernel"}
COPY_CATEGORIES = {"gpu_memcpy", "Memcpy", "gpu_memset", "Memset"}
OP_CATEGORIES = {"cpu_op", "Operator"}


def names_in_corpus():
    folder = corpus_folder() / "kineto"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def unions():
    path = corpus_folder() / "expected" / "kernel_unions.json"
    expected = json.loads(path.read_text()) if path.is_file() else {}
    return {name.removeprefix("kineto/"): value for name, value in expected.items() if name.startswith("kineto/")}


def small():
    """The traces that are quick to read a second time."""
    folder = corpus_folder() / "kineto"
    names = [name for name in names_in_corpus() if name.endswith(".json.gz") and "simple_add_et" not in name]
    return [name for name in names if unpacked_bytes(folder / name) < SECOND_WAY_BYTES]


def unpacked_bytes(path):
    return int.from_bytes(path.read_bytes()[-4:], "little")


def intervals(table):
    starts, durations = table["start_ns"].tolist(), table["dur_ns"].tolist()
    return [(start, start + dur) for start, dur in zip(starts, durations, strict=True)]


def union_ns(found):
    """Length of a union of intervals, the plain way."""
    total, reach = 0, None
    for start, end in sorted(found):
        if reach is None or start > reach:
            total, reach = total + end - start, end
        elif end > reach:
            total, reach = total + end - reach, end
    return total


def by_device(table):
    found: dict[str, list[tuple[int, int]]] = {}
    for device, interval in zip(table["device"].tolist(), intervals(table), strict=True):
        found.setdefault(str(device), []).append(interval)
    return found


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("name", unions() or ["none"])
def test_busy_time_is_right_to_the_nanosecond(name):
    kernels = read(corpus_folder() / "kineto" / name).table("kernels")
    found = {
        "launches": len(kernels),
        "kernel_dur_ns": sum(kernels["dur_ns"].tolist()),
        "busy_ns": {device: union_ns(spans) for device, spans in sorted(by_device(kernels).items())},
    }
    assert found == unions()[name]


@pytest.mark.parametrize(("timeline", "name"), TRACELENS.items())
def test_computation_and_busy_time_agree_with_tracelens(corpus: Path, timeline, name):
    with (corpus / "expected" / "tracelens" / timeline / "gpu_timeline.csv").open() as stream:
        expected = {row["type"]: float(row["time ms"]) * 1e6 for row in csv.DictReader(stream)}
    profile = read(corpus / "kineto" / f"AMD-AGI__TraceLens__{name}.json.gz", tables=GPU)
    kernels, copies = profile.table("kernels"), profile.table("copies")
    computing = [
        interval
        for interval, kernel in zip(intervals(kernels), kernels["name"].tolist(), strict=True)
        if not COMMUNICATION.search(kernel)
    ]
    sets = [
        interval for interval, kind in zip(intervals(copies), copies["kind"].tolist(), strict=True) if kind == "memset"
    ]
    assert abs(union_ns(computing + sets) - expected["computation_time"]) <= TRACELENS_ERROR_NS
    assert abs(union_ns(intervals(kernels) + intervals(copies)) - expected["busy_time"]) <= TRACELENS_ERROR_NS


@pytest.mark.parametrize(("trace", "kernel_us"), [("1623143089861", 591_532), ("1623212756351", 594_868)])
def test_the_resnet_traces_hold_the_published_kernel_time(corpus: Path, trace, kernel_us):
    kernels = read(corpus / "kineto" / f"pytorch__kineto__worker0.{trace}.pt.trace.json.gz").table("kernels")
    assert sum(kernels["dur_ns"].tolist()) == kernel_us * 1000


def exact_ns(numeral):
    return int((Decimal(numeral) * 1000).to_integral_value(rounding=ROUND_HALF_EVEN))


def second_reading(content, categories):
    """Rows (name, start, duration, device) or (..., external id) by Python's json, numbers as they are written."""
    document = json.loads(content, parse_float=str, parse_int=str)
    base_ns = int(document.get("baseTimeNanoseconds", 0))
    rows = []
    for event in document["traceEvents"]:
        if event.get("ph") != "X" or event.get("cat") not in categories:
            continue
        if event["name"].startswith("ProfilerStep#"):
            continue
        start_ns = exact_ns(event["ts"])
        start_ns += base_ns if start_ns < 10**18 else 0
        arguments = event.get("args", {})
        key = (
            arguments.get("External id", "0") if categories is OP_CATEGORIES else arguments.get("device", event["pid"])
        )
        rows.append((event["name"], start_ns, exact_ns(event["dur"]), int(key)))
    return rows


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("name", small() or ["none"])
def test_every_row_is_what_a_second_reading_finds(name):
    path = corpus_folder() / "kineto" / name
    content = gzip.decompress(path.read_bytes())
    profile = read(path, tables=(*GPU, "ops"))
    for table, categories, key in (
        ("kernels", KERNEL_CATEGORIES, "device"),
        ("copies", COPY_CATEGORIES, "device"),
        ("ops", OP_CATEGORIES, "external_id"),
    ):
        found = profile.table(table)
        if not len(found) or "start_ns" not in found:
            continue
        rows = zip(
            found["name"].tolist(),
            found["start_ns"].tolist(),
            found["dur_ns"].tolist(),
            found.ints(key).tolist(),
            strict=True,
        )
        assert list(rows) == second_reading(content, categories), table


@pytest.mark.parametrize(
    "name", ["cuda_event_sync_trace", "cuda_event_sync_multi_stream_trace", "critical_path_alexnet_trace"]
)
def test_waits_are_neither_kernels_nor_copies(corpus: Path, name):
    profile = read(corpus / "kineto" / f"{HTA}{name}.json.gz", tables=(*GPU, "api"))
    api = profile.table("api")
    waits = {
        call for call, domain in zip(api["name"].tolist(), api["domain"].tolist(), strict=True) if domain == "sync"
    }
    assert waits
    assert waits <= {"Stream Wait Event", "Stream Sync", "Context Sync", "Event Sync"}
    work = {*profile.table("kernels")["name"].tolist(), *profile.table("copies")["name"].tolist()}
    assert not work & waits


@pytest.mark.parametrize("name", ["cpu_only_rank-34.full.pt.trace", "rank_non_gpu", "rank_not_found"])
def test_traces_without_a_gpu_are_of_the_cpu(corpus: Path, name):
    profile = read(corpus / "kineto" / f"{HTA}{name}.json.gz", tables=("kernels", "ops"))
    assert profile.meta.domain == "cpu"
    assert len(profile.table("ops")) > 2000
    assert len(profile.table("kernels")) == 0


@pytest.mark.parametrize(("name", "rank"), [("rank_non_gpu", 0), ("rank_not_found", None), ("sampled_rank-1", 1)])
def test_the_rank_is_the_files_own_or_absent(corpus: Path, name, rank):
    assert read(corpus / "kineto" / f"{HTA}{name}.json.gz").meta.rank == rank


def test_an_archive_of_eight_ranks_is_eight_profiles_in_order(corpus: Path):
    path = corpus / "kineto" / "facebookresearch__param__dlrm_kineto.tar.gz"
    profiles = list(read_all(path, tables=GPU))
    assert [profile.meta.rank for profile in profiles] == list(range(8))
    with tarfile.open(path) as archive:
        members = sorted(member.name for member in archive if member.isfile())
        kernels = [
            sum(event.get("cat") == "kernel" for event in json.load(archive.extractfile(member))["traceEvents"])
            for member in members
        ]
    assert [len(profile.table("kernels")) for profile in profiles] == kernels


@pytest.mark.parametrize(
    ("name", "what"),
    [("memory_timeline.raw.gz", "memory timeline"), ("benchmark_simple_add_et.json.gz", "execution trace")],
)
def test_files_that_are_no_traces_are_refused_by_name(corpus: Path, name, what):
    with pytest.raises(UnknownFormatError, match=what):
        read(corpus / "kineto" / f"{HTA}{name}")


def test_a_capture_with_the_range_profiler_has_counters_for_every_launch(corpus: Path):
    path = corpus / "kineto" / f"{HTA}cupti_profiler_trace.json.gz"
    profile = read(path, tables=("kernels", "counters", "api"))
    assert len(profile.table("kernels")) == 77
    assert len(profile.table("counters")) == 77 * 9
    assert profile.meta.times == "replay"
    content = json.loads(gzip.decompress(path.read_bytes()))
    total = sum(
        sum(event["args"].values()) for event in content["traceEvents"] if event.get("cat") == "cuda_profiler_range"
    )
    assert sum(profile.table("counters")["value"].tolist()) == total


def test_identifiers_beyond_64_bits_do_no_harm(corpus: Path):
    profile = read(corpus / "kineto" / f"{HTA}large_integer_rank-70.pt.trace.json.gz", tables=("kernels", "ops"))
    assert (len(profile.table("kernels")), len(profile.table("ops"))) == (1, 1)


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("name", small() or ["none"])
def test_real_traces_read_whole_without_a_warning(name):
    assert [profile.warnings for profile in read_all(corpus_folder() / "kineto" / name, tables=tuple(SCHEMAS))] == [()]
