"""One request for a file from some byte on, over http, https or from a local file.

The standard library's urllib is enough for it and keeps a package out of every installation: what is hard about large
downloads (ranges, validators, short bodies) is the caller's work with any client.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Final, Protocol
from urllib.parse import unquote, urlsplit

from ds2prof.errors import UsageError

SCHEMES: Final = ("https", "http", "file")
LONGEST_REDIRECTION: Final = 5
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNSATISFIED: Final = re.compile(r"bytes \*/(\d{1,18})")
_AGENT: Final = "ds2prof (data download)"


class BrokenError(Exception):
    """The transfer failed in a way that may pass. ``wait_s``: how long the server asked to be left alone."""

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class RefusedError(Exception):
    """The server will not deliver this file, however often it is asked."""


class StaleError(BrokenError):
    """What is on the disk is no beginning of what the server has: the file is to be fetched from its start."""


class Body(Protocol):
    """What bytes are read from as they come."""

    def read1(self, size: int, /) -> bytes:
        """Up to that many bytes, nothing at the end."""


@dataclass(frozen=True)
class Answer:
    """What a server is about to send.

    Attributes:
        stream: The body.
        start: The body's first byte is this byte of the file.
        total_bytes: The whole file's size; None where the server does not say.
        validator: Names this version of the file (a strong ETag, else its date); None where the server has none.
    """

    stream: Body
    start: int
    total_bytes: int | None
    validator: str | None


def check_url(url: str) -> None:
    """Nothing, if the address is one that can be fetched from.

    Raises:
        UsageError: its scheme is none of ours, or it names no host or path.
    """
    parts = _split(url)
    if parts is None or parts[0] not in SCHEMES:
        raise UsageError(
            f"{url}: cannot be fetched from; give an address that begins with https://, http:// or file://"
        )
    scheme, host, path = parts
    if scheme == "file" and (host not in ("", "localhost") or not path.startswith("/")):
        raise UsageError(f"{url}: names no file of this machine; give file:///full/path")
    if scheme != "file" and not host:
        raise UsageError(f"{url}: names no host")
    if scheme != "file" and "@" in urlsplit(url).netloc:
        raise UsageError(f"{scheme}://{host}: a name and a password in an address are not sent; leave them out")


@contextmanager
def asking(
    url: str, *, start: int, validator: str | None, timeout_s: float, may_weaken: bool = False, page: bool = False
) -> Iterator[Answer]:
    """The server's answer to a request for the file from byte ``start`` on.

    Args:
        url: Where the file lies.
        start: The first byte that is wanted. The answer may begin at 0 all the same.
        validator: The version that the bytes before ``start`` are of; the server sends the whole of any other one.
        timeout_s: How long nothing may come.
        may_weaken: A redirection may lead from https to http, because the file's digest is known.
        page: A web page is what is wanted, not a file.

    Raises:
        BrokenError: it failed, and may work another time.
        RefusedError: it will not work.
    """
    if url.startswith("file:"):
        with _local(url, start=start, validator=validator) as answer:
            yield answer
        return
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator is not None:
            headers["If-Range"] = validator
    opener = urllib.request.build_opener(_Redirections(may_weaken=may_weaken))
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - check_url has seen the scheme
    with translated():
        response = opener.open(request, timeout=timeout_s)
    with response:
        yield _answer(response, response.status, response.headers, start=start, page=page)


@contextmanager
def translated() -> Iterator[None]:
    """What the network and the HTTP client raise inside becomes one of the two errors here.

    Raises:
        BrokenError: it may work another time.
        RefusedError: it will not.
    """
    try:
        yield
    except urllib.error.HTTPError as error:
        with error:
            raise _status_error(error) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise RefusedError(f"its certificate is not valid: {error.reason.verify_message}") from None
        if isinstance(error.reason, socket.gaierror) and error.reason.errno != socket.EAI_AGAIN:
            raise RefusedError("there is no machine of that name, or no network") from None
        raise BrokenError(_reason(error.reason)) from None
    except TimeoutError:
        raise BrokenError("nothing came any more") from None
    except (OSError, http.client.HTTPException) as error:
        raise BrokenError(_reason(error)) from None
    except ValueError as error:  # what a hostile header makes of an address
        raise RefusedError(f"answers with something that is no HTTP: {error}") from None


class _Redirections(urllib.request.HTTPRedirectHandler):
    max_redirections = LONGEST_REDIRECTION
    max_repeats = 2

    def __init__(self, *, may_weaken: bool) -> None:
        self._may_weaken = may_weaken

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """The request for the new address, with the range of the first.

        Raises:
            RefusedError: the new address is no web address, or is not safe where the old one was.
        """
        parts = _split(newurl)
        if parts is None or parts[0] not in ("http", "https"):
            raise RefusedError("redirects to something that is no web address")
        if parts[0] == "http" and req.full_url.startswith("https:") and not self._may_weaken:
            raise RefusedError("redirects from https to http, and no digest is known that would show a change")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _answer(stream: Body, status: int, headers: Message, *, start: int, page: bool) -> Answer:
    if not page and "text/html" in headers.get("Content-Type", "").lower():
        raise RefusedError("answers with a web page instead of the file")
    validator = _validator(headers)
    if status == 206:
        found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != start:
            raise StaleError(f"sent another range than was asked for ({headers.get('Content-Range', '')[:100]!r})")
        return Answer(stream, start, None if found[3] == "*" else int(found[3]), validator)
    if status != 200:
        raise RefusedError(f"answers with HTTP status {status}")
    length = headers.get("Content-Length", "")
    return Answer(stream, 0, int(length) if length.isascii() and length.isdigit() else None, validator)


def _validator(headers: Message) -> str | None:
    """A strong ETag, else the date; a weak ETag cannot vouch for bytes (RFC 9110, section 13.1.5)."""
    tag = headers.get("ETag", "").strip()
    if tag.startswith('"') and tag.isascii() and tag.isprintable():
        return str(tag)
    date = headers.get("Last-Modified", "").strip()
    return str(date) if date and date.isascii() and date.isprintable() else None


def _status_error(error: urllib.error.HTTPError) -> BrokenError | RefusedError:
    if error.code == 416:
        found = _UNSATISFIED.fullmatch(str(error.headers.get("Content-Range", "")).strip())
        return StaleError(f"has a shorter file now{f' ({found[1]} bytes)' if found else ''}")
    if error.code in _TRY_AGAIN:
        return BrokenError(f"answers with HTTP status {error.code}", wait_s=_wait_s(error.headers))
    if 300 <= error.code < 400:
        return RefusedError("redirects in a circle, or to what is no web address")
    return RefusedError(f"answers with HTTP status {error.code}")


def _wait_s(headers: Message) -> float:
    """The server's Retry-After in seconds; 0 where it has none, or a date, which needs its clock."""
    text = str(headers.get("Retry-After", "")).strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _reason(error: object) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


@contextmanager
def _local(url: str, *, start: int, validator: str | None) -> Iterator[Answer]:
    path = Path(unquote(urlsplit(url).path))
    try:
        stream = path.open("rb")
    except OSError as error:
        raise RefusedError(_reason(error)) from None
    with stream:
        status = path.stat()
        now = f"{status.st_mtime_ns}-{status.st_size}"
        if validator != now or start > status.st_size:
            start = 0
        stream.seek(start)
        yield Answer(stream, start, status.st_size, now)


def _split(url: str) -> tuple[str, str, str] | None:
    """Scheme, host and path of the address; None where it is none."""
    if not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
        return parts.scheme.lower(), parts.hostname or "", parts.path
    except ValueError:
        return None
