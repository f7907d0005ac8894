"""Coverage-guided fuzzing of one parser with Atheris: ``make fuzz MINUTES=10 PARSER=ncu_csv``.

Begins with the parser's golden cases and with ``tests/fuzz/corpus/PARSER``. What finds new paths is kept under
``.fuzz/PARSER/corpus``; an input that breaks the parser is written to ``.fuzz/PARSER/found-*`` and ends the run with
exit 1. ``--keep`` reduces what was kept to a few small files and puts them into ``tests/fuzz/corpus/PARSER``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

MAX_INPUT_BYTES = 1 << 16
MAX_KEPT_FILES = 24
MAX_KEPT_BYTES = 4096
SLOW_S = 20
MAX_MEMORY_MIB = 3072
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_ .%()/:]{2,30}|[^\sA-Za-z0-9]{2,6}")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--parser", required=True, help="name of a module in parsers/, or 'all'")
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--keep", action="store_true", help="put a reduced corpus into the repository")
    arguments.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen, rest = arguments.parse_known_args()
    if chosen.child:
        return _fuzz(chosen.parser, rest)
    from ds2prof.parsers import PARSERS

    names = PARSERS if chosen.parser == "all" else (chosen.parser,)
    unknown = [name for name in names if name not in PARSERS]
    if unknown:
        print(f"fuzz: no parser {unknown[0]}; there are {', '.join(PARSERS)}", file=sys.stderr)
        return 2
    return max(_run(name, minutes=chosen.minutes, keep=chosen.keep) for name in names)


def _run(name: str, *, minutes: float, keep: bool) -> int:
    """Fuzz one parser in a process of its own; its exit code."""
    from tests.fuzz.target import seeds

    folder = ROOT / ".fuzz" / name
    start = folder / "seeds"
    shutil.rmtree(start, ignore_errors=True)
    start.mkdir(parents=True)
    (folder / "corpus").mkdir(exist_ok=True)
    for path in seeds(name):
        content = _plain(path)
        if len(content) <= MAX_INPUT_BYTES:
            (start / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    words = folder / "words.dict"
    words.write_text(_words(start), encoding="ascii")
    command = [
        sys.executable,
        str(Path(__file__)),
        f"--parser={name}",
        "--child",
        str(folder / "corpus"),
        str(start),
        f"-max_total_time={int(minutes * 60)}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={SLOW_S}",
        f"-rss_limit_mb={MAX_MEMORY_MIB}",
        f"-dict={words}",
        f"-artifact_prefix={folder}/found-",
        "-print_final_stats=1",
    ]
    log = folder / "log.txt"
    print(f"fuzz: {name}: {minutes:g} min, {len(list(start.iterdir()))} seeds; log in {log}", file=sys.stderr)
    with log.open("w", encoding="utf-8") as stream:
        code = subprocess.run(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    _tell(name, log.read_text(encoding="utf-8", errors="replace"), code)
    if keep and code == 0:
        _keep(name, folder)
    return 1 if code else 0


def _fuzz(name: str, options: list[str]) -> int:
    """The fuzzer itself; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["ds2prof.parsers"]):
        from ds2prof.parsers import parser

        parser(name)
        from tests.fuzz.target import read, seeds

        for path in seeds(name)[:20]:  # modules that are loaded late are instrumented too
            read(name, _plain(path))

    def one(data: bytes) -> None:
        read(name, data)

    again = shlex.join([sys.executable, str(Path(__file__)), f"--parser={name}", "--child"])
    atheris.Setup([again, *options], one)  # merging starts itself anew, by way of a shell
    atheris.Fuzz()
    return 0


def _plain(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _words(folder: Path) -> str:
    """A fuzzer's dictionary: the words of the seeds, and numbers at the edges."""
    found = {
        b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"-1", b"NaN", b"Infinity", b"1e999",
        b"18446744073709551616", b"0.0000000001", b"null", b"\x00", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b'""', b"{}",
    }  # fmt: skip
    for path in sorted(folder.iterdir()):
        found.update(_WORD.findall(path.read_bytes())[:400])
    return "".join(f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in word)}"\n' for word in sorted(found)[:3000])


def _tell(name: str, log: str, code: int) -> None:
    def stat(key: str) -> str:
        found = re.findall(rf"{key}: +(\S+)", log)
        return found[-1] if found else "?"

    covered = re.findall(r"cov: (\d+)", log)
    print(
        f"fuzz: {name}: {stat('stat::number_of_executed_units')} inputs, coverage {covered[-1] if covered else '?'}, "
        f"peak {stat('stat::peak_rss_mb')} MiB: {'nothing found' if code == 0 else 'FOUND, see the end of the log'}"
    )


def _keep(name: str, folder: Path) -> None:
    """Put a few small ones of the inputs that reach what the whole corpus reaches into the repository."""
    reduced = folder / "reduced"
    shutil.rmtree(reduced, ignore_errors=True)
    reduced.mkdir()
    command = [
        sys.executable, str(Path(__file__)), f"--parser={name}", "--child", "-merge=1", f"-max_len={MAX_KEPT_BYTES}",
        str(reduced), str(folder / "corpus"),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    target = ROOT / "tests" / "fuzz" / "corpus" / name
    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        if re.fullmatch("[0-9a-f]{16}", path.name):  # finds have names of their own, and stay
            path.unlink()
    small = sorted(reduced.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    step = max(len(small) // MAX_KEPT_FILES, 1)
    for path in small[::step][:MAX_KEPT_FILES]:
        shutil.copyfile(path, target / path.name[:16])


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
