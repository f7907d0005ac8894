from __future__ import annotations

import gzip
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from ds2prof.errors import ReadError
from ds2prof.parsers import sources
from ds2prof.parsers.sources import find_sources


def contents(path, **options):
    return [(source.name, source.open().read()) for source in find_sources(path, **options)]


def tar_of(members, *, mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_a_plain_file_is_one_source(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert contents(tmp_path / "f") == [(str(tmp_path / "f"), b"abc")]


def test_gzip_is_found_from_its_bytes(tmp_path):
    (tmp_path / "f.txt").write_bytes(gzip.compress(b"abc" * 100_000))
    assert contents(tmp_path / "f.txt")[0][1] == b"abc" * 100_000


def test_gzip_of_several_members_is_read_to_its_end(tmp_path):
    (tmp_path / "f").write_bytes(gzip.compress(b"one ") + gzip.compress(b"two"))
    assert contents(tmp_path / "f")[0][1] == b"one two"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_gives_its_members_in_the_order_of_their_numbers(tmp_path, mode):
    members = {f"run/rank{rank}.json": str(rank).encode() for rank in (10, 9, 1)}
    (tmp_path / "ranks").write_bytes(tar_of(members, mode=mode))
    assert [content for _, content in contents(tmp_path / "ranks")] == [b"1", b"9", b"10"]
    assert contents(tmp_path / "ranks")[0][0].endswith("ranks:run/rank1.json")


def test_packed_members_are_unpacked(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_of({"one.json.gz": gzip.compress(b"inside")}))
    assert contents(tmp_path / "a.tar")[0][1] == b"inside"


def test_a_source_can_be_opened_again(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar_of({"one": b"x" * 200_000}, mode="w:gz"))
    (source,) = find_sources(tmp_path / "a.tar.gz")
    first, second = source.open(), source.open()
    assert first.read(10) == b"x" * 10
    assert second.read() == b"x" * 200_000
    assert len(first.read()) == 199_990


def test_a_gzip_that_was_cut_off_gives_what_is_there(tmp_path):
    data = os.urandom(300_000)
    (tmp_path / "f").write_bytes(gzip.compress(data)[:-50_000])
    content = contents(tmp_path / "f")[0][1]
    assert 100_000 < len(content) < len(data)
    assert data.startswith(content)


def test_a_gzip_that_is_damaged_is_an_error_that_names_the_place(tmp_path):
    packed = bytearray(gzip.compress(os.urandom(300_000)))
    packed[150_000:150_010] = b"\xff" * 10
    (tmp_path / "f").write_bytes(packed)
    with pytest.raises(ReadError, match=r"damaged gzip after \d+ bytes"):
        contents(tmp_path / "f")


def test_more_than_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_STREAM_BYTES", 1 << 20)
    (tmp_path / "bomb").write_bytes(gzip.compress(b"\0" * (8 << 20)))
    with pytest.raises(ReadError, match="refused"):
        contents(tmp_path / "bomb")


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_MEMBERS", 2)
    (tmp_path / "a.tar").write_bytes(tar_of({str(i): b"x" for i in range(3)}))
    with pytest.raises(ReadError, match="more than 2 files"):
        contents(tmp_path / "a.tar")


def test_a_damaged_archive_is_an_error(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_of({"one": b"x" * 5000, "two": b"y" * 5000})[:4000])
    with pytest.raises(ReadError, match="damaged tar"):
        contents(tmp_path / "a.tar")


def test_links_and_devices_in_an_archive_are_passed_over(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("../../real")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"ok"))
    (tmp_path / "a.tar").write_bytes(stream.getvalue())
    assert [content for _, content in contents(tmp_path / "a.tar")] == [b"ok"]


def test_a_folder_leaves_out_what_is_no_measurement(tmp_path):
    for name in ("torch_bs10.json", "torch_bs9.json", "x.meta.json", "x.log", ".hidden", "raw.qdstrm", "README.md"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    names = [Path(name).name for name, _ in contents(tmp_path)]
    assert names == ["torch_bs9.json", "torch_bs10.json"]


def test_a_pipe_is_read_like_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(gzip.compress(b"x" * 200_000),))
    writer.start()
    (source,) = find_sources(tmp_path / "pipe")
    writer.join()
    assert (source.open().read(), source.open().read(3)) == (b"x" * 200_000, b"xxx")


@pytest.mark.parametrize(("name", "said"), [("", "no file is named"), ("a" * 5000, "too long"), ("nowhere", "No such")])
def test_a_name_of_no_file_is_an_error(name, said):
    with pytest.raises(ReadError, match=said):
        contents(name)


def test_a_gzip_of_no_byte_is_an_error(tmp_path):
    (tmp_path / "f").write_bytes(gzip.compress(b"abc")[:9])
    with pytest.raises(ReadError, match="damaged gzip after 0 bytes"):
        contents(tmp_path / "f")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(ReadError, match="no measurement in this folder"):
        contents(tmp_path)


def test_progress_counts_the_bytes_on_disk(tmp_path):
    (tmp_path / "f").write_bytes(gzip.compress(os.urandom(100_000)))
    counted = []
    (source,) = find_sources(tmp_path / "f", progress=counted.append)
    before = sum(counted)
    source.open().read()
    assert sum(counted) - before == (tmp_path / "f").stat().st_size


def test_nothing_is_written_beside_the_input(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar_of({"one": b"x"}, mode="w:gz"))
    contents(tmp_path / "a.tar.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_plain_file_is_its_own_file_on_disk(tmp_path):
    path = tmp_path / "plain"
    path.write_bytes(b"content")
    (source,) = find_sources(path)
    with source.file() as found:
        assert found == path


@pytest.mark.parametrize("form", ["gzip", "tar"])
def test_what_is_packed_gets_a_private_file_that_is_gone_afterwards(tmp_path, form):
    path = tmp_path / "packed"
    if form == "gzip":
        path.write_bytes(gzip.compress(b"content"))
    else:
        (tmp_path / "member").write_bytes(b"content")
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "member", "member")
    (source,) = find_sources(path)
    with source.file() as found:
        assert found.read_bytes() == b"content"
        assert tmp_path not in found.parents
    assert not found.exists()
