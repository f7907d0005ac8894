"""What a terminal shows as a picture (SVG), to be kept and looked at: text with the escape sequences of colour."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape, unescape

ROOT = Path(__file__).resolve().parent.parent
ARTIFACTS = ROOT / "build" / "artifacts"
_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_COLOURS = {"31": "#ff6b6b", "32": "#69db7c", "33": "#e8b339", "34": "#74a9ff", "35": "#d68fe0", "36": "#4cc9d8"}
_WIDE, _HIGH = 8.4, 18


def runs(line):
    """(text, style) of the parts of a line; style is the set of SGR numbers that hold."""
    style, place = frozenset(), 0
    for found in _SGR.finditer(line):
        if found.start() > place:
            yield line[place : found.start()], style
        numbers = set(found.group(1).split(";")) - {""}
        style = frozenset() if numbers <= {"0"} else style | numbers
        place = found.end()
    if place < len(line):
        yield line[place:], style


def svg(text, *, columns):
    """The text on a dark ground, a monospaced cell for each character."""
    lines = text.split("\n")
    wide, high = columns * _WIDE + 24, len(lines) * _HIGH + 24
    drawn = []
    for row, line in enumerate(lines):
        column = 0
        for part, style in runs(line):
            colour = next((_COLOURS[number] for number in style if number in _COLOURS), "#d7dae0")
            weight = ' font-weight="bold"' if "1" in style else ""
            faint = ' opacity="0.62"' if "2" in style else ""
            x, y = 12 + column * _WIDE, 12 + row * _HIGH + 13
            length = f'textLength="{len(part) * _WIDE:.1f}"'
            drawn.append(
                f'<text x="{x:.1f}" y="{y}" {length} fill="{colour}"{weight}{faint} xml:space="preserve">'
                f"{escape(part)}</text>"
            )
            column += len(part)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high}" font-size="14" '
        f'font-family="DejaVu Sans Mono, monospace"><rect width="100%" height="100%" fill="#16181d"/>'
        f"{''.join(drawn)}</svg>"
    )


def kept(name, text, *, columns):
    """The picture's file among the artifacts; with a browser on the machine a PNG of it beside."""
    folder = ARTIFACTS / "terminal"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{columns}.svg"
    path.write_text(svg(text, columns=columns), encoding="utf-8")
    browser = shutil.which("chromium")
    if browser and os.environ.get("DS2PROF_ARTIFACT_PNG"):
        size = f"{columns * _WIDE + 24:.0f},{(text.count(chr(10)) + 1) * _HIGH + 24}"
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--window-size={size}", f"--screenshot={path.with_suffix('.png')}", path.as_uri()),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    return path


def text_of(picture):
    """The lines that a picture shows, read back from it."""
    lines = {}
    for found in re.finditer(r'<text x="([\d.]+)" y="(\d+)"[^>]*>([^<]*)</text>', picture):
        row = (int(found.group(2)) - 25) // _HIGH
        column = round((float(found.group(1)) - 12) / _WIDE)
        lines[row] = lines.get(row, "").ljust(column) + unescape(found.group(3))
    return [lines.get(row, "").rstrip() for row in range(max(lines) + 1)]
