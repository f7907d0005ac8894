"""The files below a folder, in an order that does not depend on the file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ds2prof.errors import MissingDataError, ReadError


def folders_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folder and each one below it, with the names of what is in it and no folder; both in the order of names.

    Links to folders are followed: a corpus is often put together from parts that lie on other disks.

    Raises:
        MissingDataError: there is no such folder.
        ReadError: one cannot be looked into, or a link leads back to a folder that it lies in.
    """
    if not folder.is_dir():
        raise MissingDataError(f"{folder}: is no folder")
    coming: list[tuple[Path, frozenset[str]]] = [(folder, frozenset())]
    while coming:
        where, above = coming.pop()
        real = os.path.realpath(where)
        if real in above:
            raise ReadError(f"{where}: is a link to a folder that it lies in; there is no end to what is below it")
        names, folders = _inside(where)
        yield where, names
        coming.extend((where / name, above | {real}) for name in reversed(folders))


def files_below(folder: Path) -> Iterator[Path]:
    """The paths of all that is below the folder and no folder; raises as :func:`folders_below`."""
    return (where / name for where, names in folders_below(folder) for name in names)


def _inside(folder: Path) -> tuple[list[str], list[str]]:
    """The names of what a folder holds: what is no folder, and the folders; both sorted."""
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: entry.is_dir() for entry in entries}
    except OSError as error:  # a folder that cannot be looked into is no empty one
        raise ReadError(f"{error.filename or folder}: cannot be read: {error.strerror}") from None
    return sorted(name for name in kinds if not kinds[name]), sorted(name for name in kinds if kinds[name])
