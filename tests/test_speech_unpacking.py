"""Archives become their own folder, whole, or nothing; and nothing else is touched."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import struct
import tarfile
import zipfile

import pytest

from ds2prof.errors import ReadError
from ds2prof.speech.unpacking import unpack
from ds2prof.speech.unpacking_folder import Limits
from tests.download_support import put, special, tar_of, zip_of

SMALL = Limits(harmless_bytes=1_000_000)
MEMBERS = {"speech/a.wav": b"a" * 3000, "speech/text/b.txt": b"WORDS"}


def held(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(tmp_path, content: bytes, match: str, *, limits: Limits | None = None) -> None:
    """The archive is refused, and leaves nothing beside itself."""
    archive = put(tmp_path / "in" / "x.tar.gz", content)
    with pytest.raises(ReadError, match=match):
        unpack(archive, tmp_path / "in" / "out", limits=limits)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "x.tar.gz"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_of_every_compression_are_unpacked(tmp_path, mode):
    out = unpack(put(tmp_path / "x", tar_of(MEMBERS, mode=mode)), tmp_path / "out")
    assert held(out.folder) == MEMBERS
    assert (out.files, out.size_bytes, out.left_out) == (2, 3005, ())


def test_zip_archives_are_unpacked(tmp_path):
    assert held(unpack(put(tmp_path / "x", zip_of(MEMBERS)), tmp_path / "out").folder) == MEMBERS


def test_leading_dots_are_no_escape(tmp_path):
    out = unpack(put(tmp_path / "x", tar_of({"./speech/./a": b"1"})), tmp_path / "out")
    assert held(out.folder) == {"speech/a": b"1"}


def test_folders_without_files_are_made(tmp_path):
    out = unpack(put(tmp_path / "x", tar_of({"e": special("empty/inside", tarfile.DIRTYPE)})), tmp_path / "out")
    assert (out.folder / "empty/inside").is_dir()


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "speech/../../out.txt", "..", "a\\..\\b"])
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_members_that_leave_the_folder_refuse_the_archive(tmp_path, name, pack):
    refused(tmp_path, pack({"good": b"1", name: b"2"}), "lies outside of its folder|can be no file's name")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_refuse_the_archive(tmp_path, kind):
    refused(tmp_path, tar_of({"d": special("d", kind)}), "no plain file, folder or link")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("to", ["/etc/passwd", "../../../../etc/passwd", "nowhere", ".", "speech", "a\\b"])
def test_links_that_name_no_file_of_the_archive_are_left_out_and_counted(tmp_path, kind, to):
    out = unpack(put(tmp_path / "x", tar_of({**MEMBERS, "l": special("speech/l", kind, to=to)})), tmp_path / "out")
    assert held(out.folder) == MEMBERS
    assert (out.left_out, out.left_out_count) == (("speech/l",), 1)


@pytest.mark.parametrize(("kind", "to"), [(tarfile.SYMTYPE, "../speech/a.wav"), (tarfile.LNKTYPE, "speech/a.wav")])
def test_a_link_to_a_file_of_the_archive_is_that_file_even_before_it(tmp_path, kind, to):
    members = {"l": special("legacy/a.wav", kind, to=to), **MEMBERS}
    out = unpack(put(tmp_path / "x", tar_of(members)), tmp_path / "out")
    assert held(out.folder) == {**MEMBERS, "legacy/a.wav": MEMBERS["speech/a.wav"]}
    assert not (out.folder / "legacy/a.wav").is_symlink()


def test_a_file_behind_a_link_to_elsewhere_stays_in_the_folder(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    members = {"l": special("speech", tarfile.SYMTYPE, to=str(outside)), "speech/a": b"1"}
    out = unpack(put(tmp_path / "x", tar_of(members)), tmp_path / "out")
    assert held(out.folder) == {"speech/a": b"1"}
    assert list(outside.iterdir()) == []


def test_a_link_in_a_zip_archive_is_left_out(tmp_path):
    held_zip = io.BytesIO()
    with zipfile.ZipFile(held_zip, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a", b"1")
    out = unpack(put(tmp_path / "x", held_zip.getvalue()), tmp_path / "out")
    assert (held(out.folder), out.left_out) == ({"a": b"1"}, ("link",))


def test_the_same_name_twice_refuses_the_archive(tmp_path):
    both = io.BytesIO()
    with tarfile.open(fileobj=both, mode="w:gz") as tar:
        for content in (b"first", b"second"):
            info = tarfile.TarInfo("a")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    refused(tmp_path, both.getvalue(), "holds 'a' twice")


@pytest.mark.parametrize("members", [{"a": b"1", "a/b": b"2"}, {"a/b": b"2", "a": b"1"}])
def test_a_name_that_is_file_and_folder_refuses_the_archive(tmp_path, members):
    refused(tmp_path, tar_of(members), "as a file and as a folder|twice")


def test_permissions_are_ours_and_not_the_archives(tmp_path):
    info = tarfile.TarInfo("a")
    info.size, info.mode, info.uid = 1, 0o6777, 12345
    both = io.BytesIO()
    with tarfile.open(fileobj=both, mode="w") as tar:
        tar.addfile(info, io.BytesIO(b"1"))
    out = unpack(put(tmp_path / "x", both.getvalue()), tmp_path / "out")
    found = (out.folder / "a").stat()
    assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID | 0o111)
    assert found.st_uid == os.getuid()


def test_a_bomb_is_stopped_by_its_ratio(tmp_path):
    bomb = tar_of({"zeros": bytes(2_000_000)})
    assert len(bomb) < 3_000
    refused(tmp_path, bomb, "a bomb", limits=SMALL)


def test_a_zip_bomb_is_stopped_by_its_ratio(tmp_path):
    refused(tmp_path, zip_of({"zeros": bytes(2_000_000)}), "a bomb", limits=SMALL)


def test_a_bomb_behind_the_last_member_is_stopped(tmp_path):
    content = gzip.compress(gzip.decompress(tar_of({"a": b"1"})) + bytes(2_000_000))
    refused(tmp_path, content, "goes on without end", limits=SMALL)


def test_a_bomb_of_headers_is_stopped(tmp_path):
    held_tar = io.BytesIO()
    with tarfile.open(fileobj=held_tar, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}")
            info.pax_headers = {"comment": "a" * 100_000}
            tar.addfile(info)
    refused(tmp_path, held_tar.getvalue(), "goes on without end", limits=SMALL)


def test_a_bomb_in_a_header_is_stopped(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2_000_000
    refused(tmp_path, gzip.compress(info.tobuf() + b"a" * 2_000_000), "a header of over")


def test_too_many_members_are_refused(tmp_path):
    members = {f"{number}": b"" for number in range(11)}
    refused(tmp_path, tar_of(members), "more than 10 members", limits=Limits(members=10))


def test_a_member_larger_than_allowed_is_refused(tmp_path):
    refused(tmp_path, tar_of(MEMBERS), "more than a file may have", limits=Limits(member_bytes=100))


def test_a_total_larger_than_allowed_is_refused(tmp_path):
    refused(tmp_path, tar_of(MEMBERS), "would become larger", limits=Limits(total_bytes=3001))


def test_a_zip_member_that_lies_about_its_size_is_refused(tmp_path):
    content = bytearray(zip_of({"a": b"x" * 1000}))
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 10)
    refused(tmp_path, bytes(content), "damaged or cut off")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_cut_off_archive_is_refused(tmp_path, share, mode):
    whole = tar_of({f"{number}": os.urandom(5000) for number in range(20)}, mode=mode)
    refused(tmp_path, whole[: int(len(whole) * share)], "damaged or cut off|cut off")


def test_a_plain_tar_archive_that_is_cut_off_anywhere_is_refused(tmp_path):
    whole = tar_of({f"{number}": b"a" * 600 for number in range(3)}, mode="w")
    end = 3 * (512 + 1024)
    for size in range(512, end + 512, 512):
        refused(tmp_path, whole[:size], "damaged or cut off|is cut off")
    assert unpack(put(tmp_path / "x", whole[: end + 512]), tmp_path / "out").files == 3


def test_a_compressed_tar_archive_may_lack_the_mark_of_its_end(tmp_path):
    plain = tar_of({"a": b"1"}, mode="w")[:1024]
    assert unpack(put(tmp_path / "x", gzip.compress(plain)), tmp_path / "out").files == 1


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_header_in_the_middle_is_not_the_end(tmp_path, pack):
    content = bytearray(tar_of({f"{number}": b"a" * 600 for number in range(3)}, mode="w"))
    content[512 + 1024 + 1] ^= 4
    refused(tmp_path, pack(bytes(content)), "damaged or cut off")


@pytest.mark.parametrize(
    ("headers", "match"),
    [
        ({"path": "../out"}, "lies outside"),
        ({"path": "/etc/out"}, "lies outside"),
        ({"size": "5000000000"}, "cut off"),
        ({"size": "-512"}, "cut off"),
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}, "cut off|no plain file"),
    ],
)
@pytest.mark.parametrize("everywhere", [True, False])
def test_extended_headers_are_held_to_the_same_rules(tmp_path, headers, match, everywhere):
    held_tar = io.BytesIO()
    given = headers if everywhere else None
    with tarfile.open(fileobj=held_tar, mode="w", format=tarfile.PAX_FORMAT, pax_headers=given) as tar:
        info = tarfile.TarInfo("a")
        info.size, info.pax_headers = 600, {} if everywhere else headers
        tar.addfile(info, io.BytesIO(b"a" * 600))
    refused(tmp_path, held_tar.getvalue(), match)


def test_a_gzip_archive_without_its_last_bytes_is_refused(tmp_path):
    refused(tmp_path, tar_of(MEMBERS)[:-4], "damaged or cut off")


def test_a_flipped_bit_is_refused(tmp_path):
    content = bytearray(tar_of({"a": os.urandom(5000)}))
    content[3000] ^= 4
    refused(tmp_path, bytes(content), "damaged or cut off")


@pytest.mark.parametrize("content", [b"", b"<html>", b"hello", b"\x1f\x8b", b"PK\x03\x04", b"BZh", bytes(5000)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    refused(tmp_path, content, "no tar, gzip|damaged or cut off")


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    refused(tmp_path, tar_of({"a" * 300: b"1"}), "can be no file's name")


def test_a_path_that_no_file_can_have_is_refused(tmp_path):
    refused(tmp_path, tar_of({"/".join(["a" * 200] * 40): b"1"}), "can be no file's name here")


def test_folders_in_folders_without_end_are_refused(tmp_path):
    refused(tmp_path, tar_of({"a/" * 70 + "b": b"1"}), "folders in folders, 71 deep")


def test_what_an_interrupted_run_left_is_replaced(tmp_path):
    put(tmp_path / "out.unpacking" / "half", b"old")
    put(tmp_path / "out" / "older", b"older")
    out = unpack(put(tmp_path / "x", tar_of(MEMBERS)), tmp_path / "out")
    assert held(out.folder) == MEMBERS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x"]


def test_ctrl_c_in_the_middle_leaves_no_folder_that_looks_whole(tmp_path):
    def interrupt(files, size_bytes):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(put(tmp_path / "x", tar_of(MEMBERS)), tmp_path / "out", show=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_whatever_is_damaged_ends_in_our_error_or_in_files(tmp_path, kind):
    members = {"a/b": b"hello" * 50, "long" * 40: b"x", "c": b"1" * 2000}
    whole = zip_of(members) if kind == "zip" else tar_of(members, mode=kind)
    rng = random.Random(kind)
    refusals = []
    for _ in range(80):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(len(content))
            if rng.random() < 0.7:
                content[at] = rng.choice([0, 255, rng.randrange(256), content[at] ^ (1 << rng.randrange(8))])
            else:
                del content[at : at + rng.randrange(1, 60)]
        try:
            unpack(put(tmp_path / "x", bytes(content)), tmp_path / "out")
        except ReadError as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert not any("\n" in refusal for refusal in refusals)
    assert {path.name for path in tmp_path.iterdir()} <= {"x", "out"}


def test_a_directory_that_points_before_the_beginning_is_damage(tmp_path):
    content = bytearray(zip_of({"a": b"x" * 1000}))
    at = content.rindex(b"PK\x05\x06")
    content[at + 16 : at + 20] = struct.pack("<I", len(content) * 2)
    refused(tmp_path, bytes(content), "damaged or cut off")


def test_a_missing_archive_is_one_line(tmp_path):
    with pytest.raises(ReadError, match="there is no such file"):
        unpack(tmp_path / "x", tmp_path / "out")
