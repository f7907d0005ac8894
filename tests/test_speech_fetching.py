"""Downloads end with the right bytes or with an error, whatever the server does."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import socket
import threading

import pytest

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.speech.fetching import Manner, NoRoomError, Source, Transfer, fetch, fetch_text
from ds2prof.speech.fetching_checks import Digests, digests_of
from tests.download_support import (
    File,
    becomes,
    chunked,
    claims,
    drops_after,
    page,
    sends_range,
    serving,
    slowly,
    stalls,
    status,
)

NOISE = random.Random(3).randbytes(300_000)
ARCHIVE = gzip.compress(NOISE, mtime=0)
OTHER = gzip.compress(NOISE[::-1], mtime=0)
NAME = "speech.tar.gz"
RIGHT = Digests(hashlib.sha256(ARCHIVE).hexdigest(), hashlib.md5(ARCHIVE).hexdigest())


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def site():
    with serving() as site:
        site.files[f"/{NAME}"] = File(ARCHIVE)
        yield site


class Told:
    """A manner of downloading that waits for nothing and remembers what it was told."""

    def __init__(self, **given):
        self.lines: list[str] = []
        self.waits: list[float] = []
        self.shown: list[Transfer] = []
        self.manner = Manner(
            **{
                "tries": 3,
                "timeout_s": 5.0,
                "reserve_bytes": 0,
                "say": self.lines.append,
                "show": self.shown.append,
                "sleep": self.waits.append,
                **given,
            }
        )


def got(site, folder, *, digests=RIGHT, told=None, urls=None, name=NAME) -> bytes:
    source = Source(name, urls or (f"{site.url}/{name}",), digests)
    path = fetch(source, folder, manner=(told or Told()).manner)
    assert path == folder / name
    return path.read_bytes()


def left(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_whole_and_nothing_else_is_left(site, tmp_path):
    assert got(site, tmp_path) == ARCHIVE
    assert left(tmp_path) == {NAME}


def test_what_is_there_is_not_fetched_again(site, tmp_path):
    got(site, tmp_path)
    got(site, tmp_path)
    assert len(site.asked) == 1


def test_what_is_there_and_is_another_file_is_an_error_that_leaves_it(site, tmp_path):
    (tmp_path / NAME).write_bytes(OTHER)
    with pytest.raises(Ds2profError, match="published is"):
        got(site, tmp_path)
    assert (tmp_path / NAME).read_bytes() == OTHER


def test_a_dropped_connection_is_resumed_where_it_broke_off(site, tmp_path):
    site.files[f"/{NAME}"].faults = [drops_after(100_000), drops_after(70_000)]
    assert got(site, tmp_path) == ARCHIVE
    assert site.ranges(f"/{NAME}") == [None, "bytes=100000-", "bytes=170000-"]
    assert all(headers["if-range"] == '"first"' for _, headers in site.asked[1:])


def test_a_later_process_resumes_what_an_earlier_one_began(site, tmp_path):
    site.files[f"/{NAME}"].faults = [drops_after(100_000), status(503), status(503), status(503)]
    with pytest.raises(Ds2profError, match=r"HTTP status 503; given up after 3 tries"):
        got(site, tmp_path)
    assert left(tmp_path) == {f"{NAME}.part", f"{NAME}.part.json"}
    assert got(site, tmp_path) == ARCHIVE
    assert site.ranges(f"/{NAME}")[-1] == "bytes=100000-"


def test_ctrl_c_leaves_what_was_fetched_for_the_next_time(site, tmp_path):
    def interrupt(transfer):
        if transfer.done_bytes > 100_000:
            raise KeyboardInterrupt

    site.files[f"/{NAME}"].faults = [slowly(10_000)]
    with pytest.raises(KeyboardInterrupt):
        got(site, tmp_path, told=Told(show=interrupt))
    size = (tmp_path / f"{NAME}.part").stat().st_size
    assert size > 100_000
    assert got(site, tmp_path) == ARCHIVE
    assert site.ranges(f"/{NAME}")[-1] == f"bytes={size}-"


def test_an_end_between_the_last_byte_and_the_digest_fetches_nothing_again(site, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(ARCHIVE)
    note = {"url": f"{site.url}/{NAME}", "validator": '"first"', "total_bytes": len(ARCHIVE)}
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps(note))
    assert got(site, tmp_path) == ARCHIVE
    assert site.asked == []


@pytest.mark.parametrize("note", ["", "[", "[]", '{"url": 3}', '{"url": "x", "validator": 7, "total_bytes": "9"}'])
def test_a_damaged_note_beside_a_part_begins_anew(site, tmp_path, note):
    (tmp_path / f"{NAME}.part").write_bytes(b"what is this")
    (tmp_path / f"{NAME}.part.json").write_text(note)
    assert got(site, tmp_path) == ARCHIVE
    assert site.ranges(f"/{NAME}") == [None]


def test_a_server_without_ranges_is_read_from_the_start_again(site, tmp_path):
    file = site.files[f"/{NAME}"]
    file.ranges, file.faults = False, [drops_after(100_000)]
    assert got(site, tmp_path) == ARCHIVE


def test_a_file_that_changed_between_tries_is_not_joined_to_its_old_beginning(site, tmp_path):
    file = site.files[f"/{NAME}"]
    file.body, file.etag, file.faults = OTHER, '"old"', [drops_after(100_000), becomes(ARCHIVE, '"new"')]
    assert got(site, tmp_path) == ARCHIVE


def test_a_server_that_ignores_if_range_and_sends_the_rest_of_another_file_is_found_out(site, tmp_path):
    file = site.files[f"/{NAME}"]

    def careless(handler, file, start):
        file.body, file.etag = ARCHIVE, '"new"'
        handler.good(file, 100_000)

    file.body, file.etag, file.faults = OTHER, '"old"', [drops_after(100_000), careless]
    told = Told()
    assert got(site, tmp_path, told=told) == ARCHIVE
    assert "another version" in told.lines[-1]


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-9/{total}", "bytes 90000-{last}/{total}", "bytes 100000-5", "nonsense", "bytes 100000-{last}/7"],
)
def test_a_wrong_range_is_not_appended(site, tmp_path, content_range):
    total = len(ARCHIVE)
    wrong = sends_range(content_range.format(total=total, last=total - 1), b"x" * 10)
    site.files[f"/{NAME}"].faults = [drops_after(100_000), wrong]
    assert got(site, tmp_path) == ARCHIVE


def rest_without_version(handler, file, start):
    """The rest of the file, with neither ETag nor date."""
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{len(file.body) - 1}/{len(file.body)}")
    handler.send_header("Content-Length", str(len(file.body) - start))
    handler.end_headers()
    handler.wfile.write(file.body[start : start + 100_000])


def test_a_rest_without_its_etag_is_not_joined_where_no_digest_decides(site, tmp_path):
    site.files[f"/{NAME}"].faults = [drops_after(100_000), rest_without_version]
    told = Told()
    assert got(site, tmp_path, digests=Digests(), told=told) == ARCHIVE
    assert "without its ETag" in told.lines[1]
    assert site.ranges(f"/{NAME}") == [None, "bytes=100000-", None]


def test_a_rest_need_not_repeat_the_date_it_was_asked_for_by(site, tmp_path):
    file = site.files[f"/{NAME}"]
    file.etag, file.date = None, "Sat, 01 Nov 2014 00:00:00 GMT"
    file.faults = [drops_after(100_000), rest_without_version]
    assert got(site, tmp_path, digests=Digests()) == ARCHIVE
    assert site.ranges(f"/{NAME}") == [None, "bytes=100000-", "bytes=200000-"]


def test_more_than_was_announced_is_not_kept(site, tmp_path):
    def longer(handler, file, start):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(file.body) - 1}/{len(file.body)}")
        handler.send_header("ETag", file.etag)
        handler.end_headers()  # no length: to the end of the connection
        handler.wfile.write(file.body[start:] + bytes(5000))  # zeros behind its end are no damage to gzip

    site.files[f"/{NAME}"].faults = [drops_after(100_000), longer]
    told = Told()
    assert got(site, tmp_path, digests=Digests(), told=told) == ARCHIVE
    assert "that it announced" in told.lines[1]


def test_a_server_that_always_begins_anew_is_left(site, tmp_path):
    file = site.files[f"/{NAME}"]
    sizes = [200_000, 70_000] * 20
    file.faults = [becomes(ARCHIVE, f'"{number}"', drops_after(size)) for number, size in enumerate(sizes)]
    with pytest.raises(Ds2profError, match="given up after 3 tries"):
        got(site, tmp_path)
    assert len(site.asked) < 9


@pytest.mark.parametrize("ending", [".part", ".part.json", ".part.json.new", ".sha256", ".sha256.new"])
def test_nothing_is_written_through_a_link_that_lies_there(site, tmp_path, ending):
    mine = tmp_path / "mine"
    mine.write_bytes(b"precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"{NAME}{ending}").symlink_to(mine)
    if ending in (".part", ".sha256"):
        with pytest.raises(Ds2profError, match="remove"):
            got(site, folder, digests=Digests())
    else:
        got(site, folder, digests=Digests())
    assert mine.read_bytes() == b"precious"


def test_what_another_user_began_is_gone_on_from_only_where_a_digest_decides(site, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 4321)
    note = {"url": f"{site.url}/{NAME}", "validator": '"first"', "total_bytes": len(ARCHIVE)}
    for digests in (Digests(), RIGHT):
        folder = tmp_path / str(digests.known)
        folder.mkdir()
        (folder / f"{NAME}.part").write_bytes(ARCHIVE[:1000])
        (folder / f"{NAME}.part.json").write_text(json.dumps(note))
        assert got(site, folder, digests=digests) == ARCHIVE
    assert site.ranges(f"/{NAME}") == [None, "bytes=1000-"]


def test_a_folder_of_the_files_name_is_an_error(site, tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(Ds2profError, match="is no file"):
        got(site, tmp_path)


def test_a_part_longer_than_the_file_begins_anew(site, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * (len(ARCHIVE) + 5))
    note = {"url": f"{site.url}/{NAME}", "validator": '"first"', "total_bytes": None}
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps(note))
    assert got(site, tmp_path) == ARCHIVE


def test_a_length_that_is_too_large_is_an_early_end(site, tmp_path):
    site.files[f"/{NAME}"].faults = [claims(len(ARCHIVE) + 500)]
    told = Told()
    assert got(site, tmp_path, told=told) == ARCHIVE
    assert "the connection ended early" in told.lines[0]


def test_a_length_that_is_too_small_fails_the_digest_and_the_next_mirror_is_asked(site, tmp_path):
    site.files[f"/short/{NAME}"] = File(ARCHIVE, faults=[claims(200_000)])
    told = Told()
    assert got(site, tmp_path, told=told, urls=(f"{site.url}/short/{NAME}", f"{site.url}/{NAME}")) == ARCHIVE
    assert "its SHA-256 is" in told.lines[0]


def test_a_body_without_a_length_is_taken_to_its_end(site, tmp_path):
    site.files[f"/{NAME}"].faults = [chunked]
    assert got(site, tmp_path) == ARCHIVE


def test_a_server_that_stalls_is_left_after_the_timeout(site, tmp_path):
    over = threading.Event()
    site.files[f"/{NAME}"].faults = [stalls(over)]
    told = Told(timeout_s=0.2)
    assert got(site, tmp_path, told=told) == ARCHIVE
    over.set()
    assert "nothing came any more" in told.lines[0]
    assert site.ranges(f"/{NAME}") == [None, "bytes=1000-"]


def test_a_slow_server_is_waited_for_and_progress_is_shown(site, tmp_path):
    site.files[f"/{NAME}"].faults = [slowly(20_000)]
    told = Told()
    assert got(site, tmp_path, told=told) == ARCHIVE
    assert len(told.shown) > 3
    assert told.shown[-1].done_bytes == told.shown[-1].total_bytes == len(ARCHIVE)
    assert told.shown[-1].remaining_s == 0.0


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_mirror_that_lacks_the_file_is_asked_once(site, tmp_path, code):
    site.files[f"/away/{NAME}"] = File(b"", faults=[status(code)] * 9)
    assert got(site, tmp_path, urls=(f"{site.url}/away/{NAME}", f"{site.url}/{NAME}")) == ARCHIVE
    assert len(site.ranges(f"/away/{NAME}")) == 1


def test_a_broken_server_is_asked_again_with_growing_waits_and_then_left(site, tmp_path):
    site.files[f"/bad/{NAME}"] = File(b"", faults=[status(500), status(502), status(504), status(503)])
    told = Told(tries=4)
    assert got(site, tmp_path, told=told, urls=(f"{site.url}/bad/{NAME}", f"{site.url}/{NAME}")) == ARCHIVE
    assert told.waits == [1.0, 2.0, 4.0]


def test_a_server_that_asks_to_be_left_alone_is_within_bounds(site, tmp_path):
    site.files[f"/{NAME}"].faults = [status(503, Retry_After="7"), status(429, Retry_After="99999")]
    told = Told()
    got(site, tmp_path, told=told)
    assert told.waits == [7.0, 60.0]


def test_a_server_that_gives_a_little_each_time_is_not_asked_for_ever(site, tmp_path):
    site.files[f"/{NAME}"].faults = [drops_after(10)] * 50
    with pytest.raises(Ds2profError, match="given up after 3 tries"):
        got(site, tmp_path)
    assert len(site.asked) == 3


def test_a_login_page_with_status_200_is_no_archive(site, tmp_path):
    site.files[f"/{NAME}"].faults = [page]
    with pytest.raises(Ds2profError, match="answers with a web page"):
        got(site, tmp_path, digests=Digests())
    assert left(tmp_path) == set()


def test_a_page_that_calls_itself_an_archive_is_found_out(site, tmp_path):
    site.files[f"/{NAME}"] = File(b"<html>Sorry</html>")
    with pytest.raises(Ds2profError, match="is no gzip archive, but a web page"):
        got(site, tmp_path, digests=Digests())
    assert left(tmp_path) == set()


def test_a_wrong_digest_is_never_kept(site, tmp_path):
    site.files[f"/{NAME}"].body = OTHER
    with pytest.raises(Ds2profError, match=r"its SHA-256 is .*, published is"):
        got(site, tmp_path)
    assert left(tmp_path) == set()


def test_a_wrong_md5_alone_is_enough(site, tmp_path):
    with pytest.raises(Ds2profError, match="its MD5 is"):
        got(site, tmp_path, digests=Digests(md5="0" * 32))


def test_another_mirror_goes_on_where_the_first_ended_when_a_digest_decides(site, tmp_path):
    site.files[f"/b/{NAME}"] = File(ARCHIVE, etag='"elsewhere"')
    site.files[f"/{NAME}"].faults = [drops_after(100_000), status(404)]
    assert got(site, tmp_path, urls=(f"{site.url}/{NAME}", f"{site.url}/b/{NAME}")) == ARCHIVE
    assert site.ranges(f"/b/{NAME}") == ["bytes=100000-"]


def test_without_a_digest_two_mirrors_are_never_joined(site, tmp_path):
    site.files[f"/b/{NAME}"] = File(ARCHIVE)
    site.files[f"/{NAME}"].faults = [drops_after(100_000), status(404)]
    urls = (f"{site.url}/{NAME}", f"{site.url}/b/{NAME}")
    assert got(site, tmp_path, digests=Digests(), urls=urls) == ARCHIVE
    assert site.ranges(f"/b/{NAME}") == [None]


def test_joined_parts_that_do_not_fit_are_fetched_whole_from_the_same_mirror(site, tmp_path):
    body = bytearray(ARCHIVE)
    body[5] ^= 1
    site.files[f"/a/{NAME}"] = File(bytes(body), faults=[drops_after(100_000), status(404)])
    urls = (f"{site.url}/a/{NAME}", f"{site.url}/{NAME}")
    assert got(site, tmp_path, urls=urls) == ARCHIVE
    assert site.ranges(f"/{NAME}") == ["bytes=100000-", None]


def test_without_a_validator_and_a_digest_nothing_is_joined(site, tmp_path):
    site.files[f"/{NAME}"].etag = None
    site.files[f"/{NAME}"].faults = [drops_after(100_000)]
    assert got(site, tmp_path, digests=Digests()) == ARCHIVE
    assert site.ranges(f"/{NAME}") == [None, None]


def test_a_weak_etag_does_not_vouch_for_bytes(site, tmp_path):
    site.files[f"/{NAME}"].etag = 'W/"like it"'
    site.files[f"/{NAME}"].faults = [drops_after(100_000)]
    assert got(site, tmp_path, digests=Digests()) == ARCHIVE
    assert site.ranges(f"/{NAME}") == [None, None]


def test_a_date_vouches_where_there_is_no_etag(site, tmp_path):
    file = site.files[f"/{NAME}"]
    file.etag, file.date, file.faults = None, "Sat, 01 Nov 2014 00:00:00 GMT", [drops_after(100_000)]
    assert got(site, tmp_path, digests=Digests()) == ARCHIVE
    assert site.asked[1][1]["if-range"] == "Sat, 01 Nov 2014 00:00:00 GMT"


def test_the_first_download_of_a_file_without_a_digest_is_remembered(site, tmp_path):
    assert got(site, tmp_path, digests=Digests()) == ARCHIVE
    assert (tmp_path / f"{NAME}.sha256").read_text() == f"{RIGHT.sha256}  {NAME}\n"
    (tmp_path / NAME).unlink()
    site.files[f"/{NAME}"].body = OTHER
    with pytest.raises(Ds2profError, match="the first time it was"):
        got(site, tmp_path, digests=Digests())


def test_a_first_download_that_is_cut_off_is_not_trusted(site, tmp_path):
    site.files[f"/{NAME}"].body = ARCHIVE[:-100]
    with pytest.raises(Ds2profError, match="damaged or not whole"):
        got(site, tmp_path, digests=Digests())
    assert left(tmp_path) == set()


def test_a_damaged_note_of_the_first_digest_is_not_overwritten(site, tmp_path):
    (tmp_path / f"{NAME}.sha256").write_text("what was it\n")
    with pytest.raises(Ds2profError, match="holds no SHA-256"):
        got(site, tmp_path, digests=Digests())


def test_a_redirection_is_followed_and_keeps_the_range(site, tmp_path):
    site.files[f"/old/{NAME}"] = File(b"", faults=[status(302, Location=f"/{NAME}")] * 2)
    site.files[f"/{NAME}"].faults = [drops_after(100_000)]
    assert got(site, tmp_path, urls=(f"{site.url}/old/{NAME}",)) == ARCHIVE
    assert site.ranges(f"/{NAME}") == [None, "bytes=100000-"]


def test_a_circle_of_redirections_ends(site, tmp_path):
    site.files[f"/a/{NAME}"] = File(b"", faults=[status(302, Location=f"/b/{NAME}")] * 50)
    site.files[f"/b/{NAME}"] = File(b"", faults=[status(302, Location=f"/a/{NAME}")] * 50)
    with pytest.raises(Ds2profError, match="redirects in a circle"):
        got(site, tmp_path, urls=(f"{site.url}/a/{NAME}",))
    assert len(site.asked) < 12


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "javascript:x"])
def test_a_redirection_away_from_the_web_is_not_followed(site, tmp_path, to):
    site.files[f"/{NAME}"].faults = [status(302, Location=to)]
    with pytest.raises(Ds2profError, match="no web address"):
        got(site, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "data:,x",
        "/tmp/x",
        "http:///x",
        "file://host/x",
        "http://a b/",
        "http://a:b@c/",
        "http://a:99999/",
    ],
)
def test_other_schemes_are_usage_errors_before_anything_is_asked(tmp_path, url):
    with pytest.raises(UsageError):
        got(None, tmp_path, urls=(url,))


def test_a_local_folder_is_a_mirror(site, tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / NAME).write_bytes(ARCHIVE)
    assert got(None, tmp_path / "here", urls=((tmp_path / "mirror" / NAME).as_uri(),)) == ARCHIVE


def test_a_local_file_that_is_missing_is_refused_and_the_next_mirror_asked(site, tmp_path):
    missing = (tmp_path / "missing").as_uri()
    assert got(site, tmp_path, urls=(missing, f"{site.url}/{NAME}")) == ARCHIVE


def test_a_port_that_nobody_listens_at_is_left_for_the_next_mirror(site, tmp_path):
    with serving() as gone:
        dead = gone.url
    assert got(site, tmp_path, urls=(f"{dead}/{NAME}", f"{site.url}/{NAME}")) == ARCHIVE


@pytest.mark.parametrize(("code", "asked"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 3)])
def test_a_name_that_does_not_exist_is_asked_for_once(tmp_path, monkeypatch, code, asked):
    names = []

    def nobody(host, *given, **more):
        names.append(host)
        raise socket.gaierror(code, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(Ds2profError, match=r"no machine of that name|given up after 3 tries"):
        got(None, tmp_path, urls=("http://nowhere.invalid/x",))
    assert names == ["nowhere.invalid"] * asked


def test_a_disk_without_room_is_told_before_anything_is_written(site, tmp_path):
    with pytest.raises(NoRoomError, match=r"are free, speech\.tar\.gz needs another"):
        got(site, tmp_path, told=Told(reserve_bytes=1 << 62))
    assert left(tmp_path) == set()


def test_a_file_that_is_announced_as_endless_is_refused(site, tmp_path):
    with pytest.raises(Ds2profError, match="more than any file here has"):
        got(site, tmp_path, told=Told(largest_bytes=1000))


def test_a_body_without_length_and_end_is_left(site, tmp_path):
    site.files[f"/{NAME}"].faults = [chunked]
    with pytest.raises(Ds2profError, match="sends more than"):
        got(site, tmp_path, told=Told(largest_bytes=1000))


def test_two_downloads_into_one_folder_do_not_mix(site, tmp_path):
    refused = []

    def second(transfer):
        if not refused:
            with pytest.raises(Ds2profError, match="another process") as caught:
                got(site, tmp_path)
            refused.append(caught.value)

    assert got(site, tmp_path, told=Told(show=second)) == ARCHIVE
    assert len(refused) == 1


def test_no_mirror_at_all_says_what_to_give(tmp_path):
    with pytest.raises(Ds2profError, match="--archive"):
        fetch(Source("x.tar.gz", ()), tmp_path)


def test_an_index_page_is_read_after_a_failure_and_from_the_next_mirror(site):
    site.files["/list/"] = File(b'<a href="a.tgz">', kind="text/html", faults=[status(503), drops_after(3)])
    told = Told()
    assert fetch_text((f"{site.url}/away/", f"{site.url}/list/"), 1000, manner=told.manner) == '<a href="a.tgz">'


def test_an_index_page_of_any_length_is_not_read(site):
    site.files["/list/"] = File(b"x" * 5000, kind="text/html")
    with pytest.raises(Ds2profError, match="a page of more than"):
        fetch_text((f"{site.url}/list/",), 1000, manner=Told().manner)


def test_both_digests_come_from_one_reading(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    # FIPS 180-4 and RFC 1321, the examples for "abc".
    assert digests_of(path) == Digests(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "900150983cd24fb0d6963f7d28e17f72"
    )


def test_the_rate_is_that_of_the_last_seconds(site, tmp_path):
    now = iter(range(0, 10_000, 5))
    site.files[f"/{NAME}"].faults = [slowly(50_000)]
    told = Told(clock_s=lambda: float(next(now)))
    got(site, tmp_path, told=told)
    assert len(told.shown) > 3
    for before, now_shown in zip(told.shown[:-2], told.shown[2:], strict=True):
        assert now_shown.bytes_per_s == (now_shown.done_bytes - before.done_bytes) / 10
