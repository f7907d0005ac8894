"""A file of which a part is there: its bytes, and beside them which version of the file they are of."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import IO

from ds2prof.errors import Ds2profError
from ds2prof.speech.fetching_checks import read_note, write_note


class Part:
    """The file as far as it is there.

    Args:
        path: Its name when it is whole.
        may_be_anyones: What another user has begun is gone on from, because a digest decides in the end.
    """

    def __init__(self, path: Path, *, may_be_anyones: bool) -> None:
        self._may_be_anyones = may_be_anyones
        self.whole = path
        self.path = path.with_name(path.name + ".part")
        self._note = path.with_name(path.name + ".part.json")

    @property
    def size_bytes(self) -> int:
        """How much is there.

        Raises:
            Ds2profError: a link or a device has the name, and bytes would go elsewhere.
        """
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return 0
        if not stat.S_ISREG(found.st_mode):
            raise Ds2profError(f"{self.path}: is no plain file; remove it")
        return found.st_size

    def opened(self) -> IO[bytes]:
        """The file, to write on at its end; never what a link leads to."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self.path, flags, 0o666), "ab")

    def known(self) -> tuple[str | None, str | None, int | None]:
        """Address, validator and whole size of the version that is partly there."""
        try:
            if not self._may_be_anyones and self.path.lstat().st_uid != os.geteuid():
                return None, None, None
            found = json.loads(read_note(self._note) or "")
            url, validator, total = found["url"], found["validator"], found["total_bytes"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None, None, None
        right = isinstance(url, str) and isinstance(validator, str | None) and isinstance(total, int | None)
        return (url, validator, total) if right else (None, None, None)

    def note(self, url: str, validator: str | None, total_bytes: int | None) -> None:
        """Writes down which version it is, before the first byte of it."""
        about = {"url": url, "validator": validator, "total_bytes": total_bytes}
        write_note(self._note, json.dumps(about))

    def discard(self) -> None:
        """Forgets it."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def complete(self) -> None:
        """Gives it its name."""
        self.path.replace(self.whole)
        self._note.unlink(missing_ok=True)
