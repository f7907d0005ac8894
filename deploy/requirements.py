#!/usr/bin/env python3
"""Prints what ds2prof and some of its extras need, a line each: an image's layer that changes only with pyproject.toml.

``python3 deploy/requirements.py pyproject.toml train,speech > requirements.txt``
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import tomllib


def requirements(project: dict[str, object], extras: list[str]) -> Iterator[str]:
    """The requirements of the project and of these extras, those that extras of its own name included."""
    name, optional = project["name"], project["optional-dependencies"]
    yield from project["dependencies"]
    waiting, seen = list(extras), set()
    while waiting:
        extra = waiting.pop(0)
        if extra in seen:
            continue
        seen.add(extra)
        if extra not in optional:
            sys.exit(f"requirements.py: there is no extra {extra!r}; there are {', '.join(optional)}")
        for line in optional[extra]:
            own = re.fullmatch(rf"{name}\[([\w,\s-]+)\]", line)
            if own:
                waiting += [each.strip() for each in own[1].split(",")]
            else:
                yield line


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: requirements.py PYPROJECT EXTRA,EXTRA...")
    with Path(sys.argv[1]).open("rb") as file:
        declared = tomllib.load(file)["project"]
    for line in dict.fromkeys(requirements(declared, [each for each in sys.argv[2].split(",") if each])):
        print(line)
