"""Files from the network, whole and verified: resumed where they broke off, from the next mirror where one is broken.

A file under its own name is complete and has been verified. Until then it is ``NAME.part``, beside a ``NAME.part.json``
that says which version of the file its bytes are of, so whatever ends a download, the next one goes on from there::

    {"url": "https://...", "validator": "\\"5a1b\\"", "total_bytes": 337926286}

Where no digest of a file is published, the digest of its first download is written beside it as ``NAME.sha256`` (for
``sha256sum -c``), and from then on that one counts: it shows a change, not that the first download was right.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from ds2prof.errors import Ds2profError
from ds2prof.speech.fetching_checks import DigestError, Digests, check_kind, verify
from ds2prof.speech.fetching_http import Answer, BrokenError, RefusedError, StaleError, asking, check_url, translated
from ds2prof.speech.fetching_part import Part
from ds2prof.units import format_bytes

_PIECE_BYTES: Final = 1 << 18
_GAIN_BYTES: Final = 1 << 16
"""A try that brought this much was no failure: the count of failures begins anew."""
_RATE_WINDOW_S: Final = 10.0


class NoRoomError(Ds2profError):
    """The disk has no room for what is to come."""


@dataclass(frozen=True)
class Source:
    """A file and where it can be had.

    Attributes:
        name: The file's name on the disk.
        urls: Its mirrors, in the order in which they are tried.
        digests: What is published of its contents.
    """

    name: str
    urls: tuple[str, ...]
    digests: Digests = field(default_factory=Digests)


@dataclass(frozen=True)
class Transfer:
    """How far a download is. Unknown is None."""

    name: str
    done_bytes: int
    total_bytes: int | None
    bytes_per_s: float | None

    @property
    def remaining_s(self) -> float | None:
        """The time to the end at the present rate."""
        if self.total_bytes is None or not self.bytes_per_s:
            return None
        return max(self.total_bytes - self.done_bytes, 0) / self.bytes_per_s


@dataclass(frozen=True)
class Manner:
    """How a download behaves.

    Attributes:
        tries: Tries in a row that bring next to nothing, before a mirror is given up.
        timeout_s: How long nothing may come.
        pause_s: The wait before the second try; it doubles with each failure.
        longest_pause_s: The longest wait; a server that asks for a longer one gets it up to here.
        largest_bytes: No file is larger.
        reserve_bytes: What is left free on the disk.
        say: Is told, in a line, of what went wrong and will be tried again.
        show: Is told how far it is, often.
        sleep: Waits.
        clock_s: A monotonic clock.
    """

    tries: int = 5
    timeout_s: float = 30.0
    pause_s: float = 1.0
    longest_pause_s: float = 60.0
    largest_bytes: int = 200 * 10**9
    reserve_bytes: int = 10**9
    say: Callable[[str], None] = lambda line: None
    show: Callable[[Transfer], None] = lambda transfer: None
    sleep: Callable[[float], None] = time.sleep
    clock_s: Callable[[], float] = time.monotonic


def fetch(source: Source, folder: Path, *, manner: Manner | None = None) -> Path:
    """The file, whole and verified, in ``folder``; nothing is fetched where it lies there already.

    Raises:
        Ds2profError: no mirror delivered it, it lies there and is another one, or the disk has no room for it.
        UsageError: an address cannot be fetched from.
        OSError: the disk cannot be written to.
    """
    manner = manner or Manner()
    for url in source.urls:
        check_url(url)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / source.name
    with alone(folder):
        if path.exists():
            _verify_present(path, source)
            return path
        failures = []
        part = Part(path, may_be_anyones=source.digests.known)
        for url in source.urls:
            try:
                _from_mirror(url, source, part, manner)
            except RefusedError as error:
                failures.append(f"{url}: {error}")
                manner.say(f"{url}: {error}")
            else:
                return path
    raise Ds2profError(_no_mirror(source, failures))


def fetch_text(urls: tuple[str, ...], largest_bytes: int, *, manner: Manner | None = None) -> str:
    """The page at the first of the addresses that delivers it.

    Raises:
        Ds2profError: none does.
        UsageError: an address cannot be fetched from.
    """
    manner = manner or Manner()
    failure = "no address is known; give one with --mirror"
    for url in urls:
        check_url(url)
        for number in range(manner.tries):
            try:
                return _page(url, largest_bytes, manner)
            except RefusedError as error:
                failure = f"{url}: {error}"
                break
            except BrokenError as error:
                failure = f"{url}: {error}"
                if number + 1 < manner.tries:
                    manner.sleep(min(max(manner.pause_s * 2**number, error.wait_s), manner.longest_pause_s))
        manner.say(failure)
    raise Ds2profError(f"{failure}; give another --mirror, or try again later")


def _page(url: str, largest_bytes: int, manner: Manner) -> str:
    with asking(url, start=0, validator=None, timeout_s=manner.timeout_s, page=True) as answer:
        pieces, size = [], 0
        while True:
            with translated():
                piece = answer.stream.read1(_PIECE_BYTES)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if size > largest_bytes:
                raise RefusedError(f"sends a page of more than {format_bytes(largest_bytes)}")
    if answer.total_bytes is not None and size < answer.total_bytes:
        raise BrokenError("the connection ended early")
    return b"".join(pieces).decode("utf-8", "replace")


def verify_given(path: Path, digests: Digests) -> str:
    """The SHA-256 of the file that the user has, which is what it should be, as far as that is known.

    Raises:
        Ds2profError: it is not, or cannot be read.
    """
    try:
        check_kind(path)
        return verify(path, digests)
    except DigestError as error:
        raise Ds2profError(f"{path}: {error}; fetch it anew") from None
    except OSError as error:
        raise Ds2profError(f"{path}: {error.strerror or error}") from None


def _from_mirror(url: str, source: Source, part: Part, manner: Manner) -> None:
    """Nothing; the file lies there, from this mirror.

    Raises:
        RefusedError: this mirror does not deliver it.
    """
    failures, restarts, before = 0, 0, part.size_bytes
    while True:
        try:
            resumed = _receive(url, source, part, manner)
            _accept(part, source, resumed=resumed)
            return
        except BrokenError as error:
            if isinstance(error, StaleError):
                part.discard()
            now = part.size_bytes
            failures = 1 if now >= before + _GAIN_BYTES else failures + 1
            restarts += now < before
            before = now
            if max(failures, restarts) >= manner.tries:
                raise RefusedError(f"{error}; given up after {manner.tries} tries") from None
            pause_s = min(max(manner.pause_s * 2 ** (failures - 1), error.wait_s), manner.longest_pause_s)
            manner.say(f"{url}: {error}; trying again in {pause_s:.0f} s, {format_bytes(part.size_bytes)} are here")
            manner.sleep(pause_s)


def _receive(url: str, source: Source, part: Part, manner: Manner) -> bool:
    """Whether bytes of an earlier try are in the file, which is as long as the server said.

    Raises:
        BrokenError: it is not complete yet.
        RefusedError: this mirror does not deliver it.
    """
    _, _, known_total = part.known()
    if known_total is not None and part.size_bytes == known_total:
        return True  # it was ended between its last byte and its digest
    start, validator = _beginning(url, source, part)
    with asking(
        url, start=start, validator=validator, timeout_s=manner.timeout_s, may_weaken=source.digests.known
    ) as answer:
        total, version = answer.total_bytes, answer.validator
        if answer.start:
            _check_same(answer, known_total, validator, digest_known=source.digests.known)
            total, version = total if total is not None else known_total, version or validator
        _check_room(total, part.size_bytes if answer.start else 0, source, folder=part.path.parent, manner=manner)
        if not answer.start:
            part.discard()
        part.note(url, version, total)
        with part.opened() as file:
            _copy(answer, file, source, total_bytes=total, manner=manner)
    if total is not None and part.size_bytes < total:
        raise BrokenError("the connection ended early")
    return answer.start > 0


def _check_same(answer: Answer, known_total: int | None, validator: str | None, *, digest_known: bool) -> None:
    """Nothing, if the rest that comes is of the version whose beginning is there.

    Raises:
        StaleError: it is not, or without a digest nothing says that it is.
    """
    if known_total is not None and answer.total_bytes not in (None, known_total):
        raise StaleError("has a file of another size now")
    if validator is not None and answer.validator not in (None, validator):
        raise StaleError("has another version of the file now")
    if not digest_known and answer.validator is None and (validator or "").startswith('"'):
        raise StaleError("sends the rest of a file without its ETag, which has to be there")  # RFC 9110, 15.3.7


def _beginning(url: str, source: Source, part: Part) -> tuple[int, str | None]:
    """The byte to go on from, and the version to ask for.

    Another mirror's copy, or one that has no validator, can only be joined where a published digest decides in the end.
    """
    size = part.size_bytes
    known_url, validator, total = part.known()
    if not size or known_url is None or (total is not None and size >= total):
        return 0, None
    if url == known_url and validator is not None:
        return size, validator
    return (size, None) if source.digests.known and total is not None else (0, None)


def _copy(answer: Answer, file: IO[bytes], source: Source, *, total_bytes: int | None, manner: Manner) -> None:
    done = answer.start
    lately = deque([(manner.clock_s(), done)])
    while True:
        with translated():
            piece = answer.stream.read1(_PIECE_BYTES)
        if not piece:
            return
        file.write(piece)
        done += len(piece)
        if total_bytes is not None and done > total_bytes:
            raise StaleError(f"sends more than the {total_bytes} bytes that it announced")
        if done > manner.largest_bytes:
            raise RefusedError(f"sends more than {format_bytes(manner.largest_bytes)}, which no file here has")
        lately.append((manner.clock_s(), done))
        while len(lately) > 2 and lately[-1][0] - lately[0][0] > _RATE_WINDOW_S:
            lately.popleft()
        time_s, gained = lately[-1][0] - lately[0][0], done - lately[0][1]
        manner.show(Transfer(source.name, done, total_bytes, gained / time_s if time_s > 0 else None))


def _check_room(total_bytes: int | None, have_bytes: int, source: Source, *, folder: Path, manner: Manner) -> None:
    if total_bytes is None:
        return
    if total_bytes > manner.largest_bytes:
        raise RefusedError(f"announces {format_bytes(total_bytes)}, more than any file here has")
    needed = total_bytes - have_bytes
    free = shutil.disk_usage(folder).free
    if free - needed < manner.reserve_bytes:
        raise NoRoomError(
            f"{folder}: {format_bytes(free)} are free, {source.name} needs another {format_bytes(needed)} and "
            f"{format_bytes(manner.reserve_bytes)} are to stay free; make room, or give another --target-dir"
        )


def _accept(part: Part, source: Source, *, resumed: bool) -> None:
    """Nothing; what was received is what it should be, and has its name.

    Raises:
        StaleError: it is not, and parts of several tries are in it.
        RefusedError: it is not, and all of it came in one try.
    """
    try:
        check_kind(part.path, name=source.name)
        verify(part.path, source.digests, remembered=part.whole)
    except DigestError as error:
        part.discard()
        if resumed:
            raise StaleError(f"{error}; the parts do not belong together") from None
        raise RefusedError(str(error)) from None
    part.complete()


def _verify_present(path: Path, source: Source) -> None:
    if not path.is_file():
        raise Ds2profError(f"{path}: is no file; remove it")
    try:
        check_kind(path)
        verify(path, source.digests, remembered=path)
    except DigestError as error:
        raise Ds2profError(f"{path}: {error}; remove it, and it is fetched anew") from None


def _no_mirror(source: Source, failures: list[str]) -> str:
    if not failures:
        return f"{source.name}: no mirror is known; give one with --mirror, or the file itself with --archive"
    if len(failures) == 1:
        return f"{failures[0]}; give another --mirror, or try again later"
    return f"{source.name}: none of {len(failures)} mirrors delivered it, the last: {failures[-1]}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other process downloads into the folder meanwhile.

    Raises:
        Ds2profError: one does.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise Ds2profError(f"{folder}: another process downloads into it; wait for that one") from None
            # Some network file systems have no locks: then nobody is kept out.
        yield
    finally:
        os.close(handle)
