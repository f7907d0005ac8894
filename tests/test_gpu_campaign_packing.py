"""The archives of a GPU campaign: within every limit, the same bytes for the same files, and read as they are."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from gpu_campaign.packing import ARCHIVE_BYTES, KINDS, LEAST_FILES, UNPACKED, Member, Packer, Sizes, Wanted, placed

EIGHT = Sizes(files=8, total_bytes=64 << 20)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def noise(path: Path, size_bytes: int, seed: int = 1) -> None:
    path.write_bytes(random.Random(seed).randbytes(size_bytes))


def pack(work: Path, output: Path, names: dict[str, int], sizes: Sizes = EIGHT) -> dict[str, Any]:
    return Packer(work, output, sizes).pack([Wanted(name, priority) for name, priority in names.items()])


def test_tar_unpacks_what_was_packed(work: Path, output: Path, tmp_path: Path) -> None:
    names = {"measurements/a.csv": 0, "measurements/b.json.gz": 1, "records/c.log": 2, "reports/d.ncu-rep": 3}
    for number, name in enumerate(names):
        noise(work / name, 1000 * number + 511, seed=number)
    packed = pack(work, output, names)
    assert [each["file"] for each in packed["archives"]] == [f"{kind}-1.tar.gz" for kind in KINDS]
    (tmp_path / "back").mkdir()
    for path in sorted(output.iterdir()):
        subprocess.run(["tar", "xzf", str(path)], cwd=tmp_path / "back", check=True, capture_output=True)
    for name in names:
        assert (tmp_path / "back" / name).read_bytes() == (work / name).read_bytes()


def test_the_same_files_make_the_same_bytes(work: Path, output: Path, tmp_path: Path) -> None:
    noise(work / "measurements" / "a.csv", 5000)
    (tmp_path / "again").mkdir()
    pack(work, output, {"measurements/a.csv": 0})
    (work / "measurements" / "a.csv").touch()
    pack(work, tmp_path / "again", {"measurements/a.csv": 0})
    name = "measurements-1.tar.gz"
    assert (output / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_an_archive_is_as_large_as_it_was_said_to_be(work: Path, output: Path) -> None:
    noise(work / "measurements" / "a.csv", 100_000)
    (work / "measurements" / "b.csv").write_text("x,y\n" * 5000)
    (archive,) = pack(work, output, {"measurements/a.csv": 0, "measurements/b.csv": 0})["archives"]
    assert archive["size_bytes"] == (output / archive["file"]).stat().st_size


def test_the_command_line_reads_an_archive_of_measurements_as_it_is(
    work: Path, output: Path, golden: Path, root: Path
) -> None:
    shutil.copy(golden / "ncu_csv" / "one_launch" / "input.csv", work / "measurements" / "nsight_bs4.csv")
    run_log = next((golden / "ds2prof_run").glob("*/input.jsonl"))
    shutil.copy(run_log, work / "measurements" / "run_bs4.jsonl")
    (work / "measurements" / "nsight_bs4.csv.meta.json").write_text('{"schema": "ds2prof-meta/1"}')
    names = {
        "measurements/nsight_bs4.csv": 0,
        "measurements/run_bs4.jsonl": 0,
        "measurements/nsight_bs4.csv.meta.json": 0,
    }
    pack(work, output, names)
    done = subprocess.run(
        [sys.executable, "-m", "ds2prof", "parse", str(output / "measurements-1.tar.gz"), "--format", "json"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = {each["source"]["file"].rpartition(":")[2] for each in json.loads(done.stdout)}
    assert files == {"measurements/nsight_bs4.csv", "measurements/run_bs4.jsonl"}


def test_sidecars_and_the_calibration_are_records_and_snapshots_are_reports(work: Path, output: Path) -> None:
    names = {"measurements/memory.csv": 0, "measurements/memory.csv.meta.json": 0, "measurements/m.snapshot.pickle": 0}
    names["measurements/calibration.json"] = 0
    for name in names:
        (work / name).write_text("x")
    packed = {each["file"]: each["files"] for each in pack(work, output, names)["archives"]}
    assert packed == {
        "records-1.tar.gz": ["measurements/calibration.json", "measurements/memory.csv.meta.json"],
        "measurements-1.tar.gz": ["measurements/memory.csv"],
        "reports-1.tar.gz": ["measurements/m.snapshot.pickle"],
    }


def test_what_is_too_large_for_an_archive_is_named_and_the_rest_is_kept(work: Path, output: Path) -> None:
    noise(work / "measurements" / "huge.csv", ARCHIVE_BYTES + 1)
    noise(work / "measurements" / "a.csv", 10)
    packed = pack(work, output, {"measurements/huge.csv": 0, "measurements/a.csv": 9})
    assert [each["file"] for each in packed["dropped"]] == ["measurements/huge.csv"]
    assert packed["dropped"][0]["reason"] == "packed it is larger than the 15 MiB of an archive"
    assert packed["archives"][0]["files"] == ["measurements/a.csv"]


def test_a_trace_that_was_packed_in_haste_is_packed_anew_where_it_is_too_large(
    work: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = json.dumps([{"name": f"kernel {number % 97}", "ts": number * 7} for number in range(40_000)]).encode()
    path = work / "measurements" / "torch_bs4.json.gz"
    path.write_bytes(gzip.compress(trace, 1))
    monkeypatch.setattr("gpu_campaign.packing.ARCHIVE_BYTES", path.stat().st_size - 100)
    packed = pack(work, output, {"measurements/torch_bs4.json.gz": 0})
    assert packed["dropped"] == []
    with tarfile.open(output / "measurements-1.tar.gz") as archive:
        content = archive.extractfile("measurements/torch_bs4.json.gz")
        assert content is not None
        assert gzip.decompress(content.read()) == trace


def test_what_is_worth_least_is_left_out_first(work: Path, output: Path) -> None:
    names = {f"measurements/{letter}.csv": priority for priority, letter in enumerate("abc")}
    for number, name in enumerate(names):
        noise(work / name, 1 << 20, seed=number)
    packed = pack(work, output, names, Sizes(total_bytes=(1 << 20) * 7 // 2))
    assert [each["file"] for each in packed["dropped"]] == ["measurements/c.csv"]
    assert packed["dropped"][0]["reason"] == "--max-mib: what is worth more fills it"


def test_many_files_of_one_kind_do_not_crowd_another_out(work: Path, output: Path) -> None:
    names = {f"measurements/{number}.csv": 0 for number in range(4)}
    for number, name in enumerate(names):
        noise(work / name, 9 << 20, seed=number)
    noise(work / "records" / "z.log", 10)
    packed = pack(work, output, {**names, "records/z.log": 9}, Sizes(files=5))
    assert [each["file"] for each in packed["archives"]] == [
        "records-1.tar.gz",
        "measurements-1.tar.gz",
        "measurements-2.tar.gz",
    ]
    assert [each["reason"] for each in packed["dropped"]] == ["--max-files: what is worth more fills the archives"] * 2


def test_packing_again_adds_what_is_new_and_takes_away_what_is_gone(work: Path, output: Path) -> None:
    packer = Packer(work, output, EIGHT)
    noise(work / "measurements" / "a.csv", 100)
    noise(work / "reports" / "r.ncu-rep", 100)
    packer.pack([Wanted("measurements/a.csv", 0), Wanted("reports/r.ncu-rep", 0)])
    noise(work / "measurements" / "b.csv", 100)
    packer.pack([Wanted("measurements/a.csv", 0), Wanted("measurements/b.csv", 0)])
    assert [path.name for path in output.iterdir()] == ["measurements-1.tar.gz"]
    with tarfile.open(output / "measurements-1.tar.gz") as archive:
        assert archive.getnames() == ["measurements/a.csv", "measurements/b.csv"]


@given(
    sizes=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 20 << 20), st.integers(0, 5)), max_size=40),
    files=st.integers(LEAST_FILES, 12) | st.none(),
    total_mib=st.integers(4, 80) | st.none(),
)
def test_no_limit_is_ever_passed_and_every_file_is_packed_or_named(
    sizes: list[tuple[str, int, int]], files: int | None, total_mib: int | None
) -> None:
    members = [
        Member(Wanted(f"{kind}/{number}", priority), Path("unused"), size_bytes, (0, 0))
        for number, (kind, size_bytes, priority) in enumerate(sizes)
    ]
    limits = Sizes(files, None if total_mib is None else total_mib << 20)
    archives, dropped = placed(members, limits)
    assert all(archive.size_bytes <= ARCHIVE_BYTES for archive in archives)
    assert files is None or len(archives) + len(UNPACKED) <= files
    assert total_mib is None or sum(archive.size_bytes for archive in archives) <= total_mib << 20
    packed = [member.wanted.name for archive in archives for member in archive.members]
    assert sorted(packed + [each["file"] for each in dropped]) == sorted(member.wanted.name for member in members)
    assert all(member.kind == archive.kind for archive in archives for member in archive.members)
