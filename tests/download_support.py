"""A web server that misbehaves as it is told, and small archives in the true layouts of the public corpora."""

from __future__ import annotations

import io
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

Fault = Callable[["Handler", "File", int], None]


@dataclass
class File:
    """What lies at an address. Each fault is one request's; when none is left, the server behaves."""

    body: bytes
    etag: str | None = '"first"'
    date: str | None = None
    ranges: bool = True
    kind: str = "application/octet-stream"
    faults: list[Fault] = field(default_factory=list)


@dataclass
class Site:
    url: str
    files: dict[str, File] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges(self, path: str) -> list[str | None]:
        return [headers.get("range") for asked, headers in self.asked if asked == path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.site.asked.append((self.path, headers))
        self.close_connection = True
        file = self.site.files.get(self.path)
        if file is None:
            self.send_error(404)
            return
        start = self.first(file, headers)
        if file.faults:
            file.faults.pop(0)(self, file, start)
        else:
            self.good(file, start)

    def first(self, file: File, headers: dict[str, str]) -> int:
        """The first byte to send: 0 where ranges are not served, or the file is another one now."""
        condition = headers.get("if-range")
        if not file.ranges or "range" not in headers or (condition and condition not in (file.etag, file.date)):
            return 0
        return int(headers["range"].removeprefix("bytes=").removesuffix("-"))

    def begin(self, file: File, start: int, *, length: int | None = None, content_range: str | None = None) -> None:
        total = len(file.body)
        if start >= total > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start or content_range else 200)
        if start or content_range:
            self.send_header("Content-Range", content_range or f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start if length is None else length))
        self.send_header("Content-Type", file.kind)
        if file.etag:
            self.send_header("ETag", file.etag)
        if file.date:
            self.send_header("Last-Modified", file.date)
        self.end_headers()

    def good(self, file: File, start: int) -> None:
        self.begin(file, start)
        self.wfile.write(file.body[start:])

    def log_message(self, *arguments: object) -> None:
        pass


def drops_after(size: int) -> Fault:
    def fault(handler: Handler, file: File, start: int) -> None:
        handler.begin(file, start)
        handler.wfile.write(file.body[start : start + size])

    return fault


def status(code: int, **headers: str) -> Fault:
    def fault(handler: Handler, file: File, start: int) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault


def claims(length: int) -> Fault:
    """A Content-Length that is not true; the body is sent as far as it goes."""

    def fault(handler: Handler, file: File, start: int) -> None:
        handler.begin(file, start, length=length)
        handler.wfile.write(file.body[start:][:length])

    return fault


def sends_range(content_range: str, body: bytes) -> Fault:
    def fault(handler: Handler, file: File, start: int) -> None:
        handler.begin(file, start, length=len(body), content_range=content_range)
        handler.wfile.write(body)

    return fault


def page(handler: Handler, file: File, start: int) -> None:
    body = b"<!DOCTYPE html><html>Please log in</html>"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def stalls(until: threading.Event) -> Fault:
    def fault(handler: Handler, file: File, start: int) -> None:
        handler.begin(file, start)
        handler.wfile.write(file.body[start : start + 1000])
        handler.wfile.flush()
        until.wait(10)

    return fault


def slowly(piece: int) -> Fault:
    def fault(handler: Handler, file: File, start: int) -> None:
        handler.begin(file, start)
        for at in range(start, len(file.body), piece):
            handler.wfile.write(file.body[at : at + piece])
            handler.wfile.flush()
            time.sleep(0.005)

    return fault


def becomes(body: bytes, etag: str, then: Fault | None = None) -> Fault:
    """The file changes before the answer."""

    def fault(handler: Handler, file: File, start: int) -> None:
        file.body, file.etag = body, etag
        fresh = handler.first(file, {name.lower(): value for name, value in handler.headers.items()})
        (then or (lambda *given: handler.good(file, fresh)))(handler, file, fresh)

    return fault


def chunked(handler: Handler, file: File, start: int) -> None:
    """No length is announced."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for at in range(0, len(file.body), 5000):
        piece = file.body[at : at + 5000]
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


@contextmanager
def serving() -> Iterator[Site]:
    site = Site("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    server.daemon_threads = True
    server.handle_error = lambda *given: None  # a client that hangs up is what some tests are about
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- archives ---


def tar_of(members: dict[str, bytes | tarfile.TarInfo], *, mode: str = "w:gz") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return held.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return held.getvalue()


def special(name: str, kind: bytes, *, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def tone(seconds: float, rate_hz: int = 16_000, *, pitch_hz: float = 440.0) -> np.ndarray:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * pitch_hz * times)).astype(np.float32)


def sound(samples: np.ndarray, rate_hz: int, form: str) -> bytes:
    """The sound as the bytes of a file: FLAC, WAV, NIST (SPHERE) or MP3."""
    import soundfile

    held = io.BytesIO()
    if form != "MP3":  # libsndfile scales floating point numbers by 32,767
        samples = np.rint(samples * 32768).astype(np.int16)
    soundfile.write(held, samples, rate_hz, format=form, subtype=None if form == "MP3" else "PCM_16")
    return held.getvalue()


def librispeech_archive(part: str = "dev-clean") -> bytes:
    flac = {f"84-121123-{number:04d}": sound(tone(1 + number), 16_000, "FLAC") for number in range(3)}
    chapter = f"LibriSpeech/{part}/84/121123"
    text = "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS THAN FIVE MINUTES\n84-121123-0002 AND YOU\n"
    return tar_of(
        {
            "LibriSpeech/README.TXT": b"about",
            f"{chapter}/84-121123.trans.txt": text.encode(),
            **{f"{chapter}/{name}.flac": content for name, content in flac.items()},
        }
    )


def an4_archive(kind: str = "raw") -> bytes:
    heard = np.rint(tone(2.0) * 32768).astype(">i2").tobytes() if kind == "raw" else sound(tone(2.0), 16_000, "NIST")
    return tar_of(
        {
            "an4/etc/an4_train.fileids": b"an4_clstk/fash/an251-fash-b\nan4_clstk/fash/an253-fash-b\n",
            "an4/etc/an4_train.transcription": b"<s> YES </s> (an251-fash-b)\n<s> GO </s> (an253-fash-b)\n",
            "an4/etc/an4_test.fileids": b"an4test_clstk/fcaw/an406-fcaw-b\nan4test_clstk/fcaw/gone\n",
            "an4/etc/an4_test.transcription": b"RUBOUT G M E F THREE NINE (an406-fcaw-b)\nLOST (gone)\n",
            f"an4/wav/an4_clstk/fash/an251-fash-b.{kind}": heard,
            f"an4/wav/an4_clstk/fash/an253-fash-b.{kind}": heard,
            f"an4/wav/an4test_clstk/fcaw/an406-fcaw-b.{kind}": heard,
        }
    )


TALK = tone(10.0)
STM = (
    b";; a comment\n"
    b"AlGore_2009 1 AlGore_2009 0.00 1.50 <o,f0,male> ignore_time_segment_in_scoring\n"
    b"AlGore_2009 1 AlGore_2009 1.50 4.25 <o,f0,male> it 's the <unk> climate(2) {BREATH} crisis\n"
    b"AlGore_2009 1 AlGore_2009 5.00 7.00 <o,f0,male> thank you\n"
)


def tedlium_archive(release: int = 2) -> bytes:
    talk = sound(TALK, 16_000, "NIST")
    if release == 3:
        root, places = "TEDLIUM_release-3", ("data", "legacy/dev", "legacy/test")
    else:
        root, places = f"TEDLIUM_release{release}", ("train", "dev", "test")
    members: dict[str, bytes | tarfile.TarInfo] = {}
    for place in places:
        members[f"{root}/{place}/stm/AlGore_2009.stm"] = STM
        members[f"{root}/{place}/sph/AlGore_2009.sph"] = talk
    if release == 3:
        name = f"{root}/legacy/train/sph/AlGore_2009.sph"
        members[name] = special(name, tarfile.SYMTYPE, to="../../../data/sph/AlGore_2009.sph")
    return tar_of(members)


def voxforge_archive(name: str, *, kind: str = "wav") -> bytes:
    heard = sound(tone(2.0), 16_000, kind.upper())
    prompts = f"{name}/mfc/a0001 Author of the danger trail\n{name}/mfc/a0002 Not at this\n"
    return tar_of(
        {
            f"{name}/etc/PROMPTS": prompts.encode(),
            f"{name}/{kind}/a0001.{kind}": heard,
            f"{name}/{kind}/a0002.{kind}": heard,
            f"{name}/{kind}/a0003.{kind}": heard,
        }
    )


def common_voice_archive() -> bytes:
    clip = sound(tone(2.0, 48_000), 48_000, "MP3")
    root = "cv-corpus-5.1-2020-06-22/en"
    table = 'client_id\tpath\tsentence\tup_votes\n{id}\tcommon_voice_en_{id}.mp3\tShe said "no", twice.\t2\n'
    return tar_of(
        {
            **{
                f"{root}/{split}.tsv": table.format(id=number).encode()
                for number, split in enumerate(("train", "dev", "test"))
            },
            **{f"{root}/clips/common_voice_en_{number}.mp3": clip for number in range(3)},
        }
    )


def common_voice_first_archive() -> bytes:
    clip = sound(tone(2.0, 48_000), 48_000, "MP3")
    table = "filename,text,up_votes\n{split}/sample-000000.mp3,learn to recognize omens,1\n"
    splits = ("cv-valid-train", "cv-valid-dev", "cv-valid-test")
    return tar_of(
        {
            **{f"cv_corpus_v1/{split}.csv": table.format(split=split).encode() for split in splits},
            **{f"cv_corpus_v1/{split}/sample-000000.mp3": clip for split in splits},
        }
    )


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
