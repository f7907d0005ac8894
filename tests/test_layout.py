"""The layers hold: imports point down, torch stays where it belongs, the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LAYERS = {
    "errors": 0,
    "units": 0,
    "analysis": 2,
    "parsers": 2,
    "launch": 2,
    "train": 2,
    "inject": 2,
    "report": 3,
    "api": 4,
    "cli": 4,
    "__main__": 5,
}
"""The layer of a top-level name inside ds2prof; what is not named here is vocabulary, layer 1."""
VOCABULARY = 1
LAUNCH_SIDE = {"calibration", "capture", "doctor", "launch", "machine", "sampling"}
WORK = {"analysis", "parsers", "launch", "train"}
TORCH_ALLOWED = {"train", "inject"}


def modules(root: Path):
    for folder, prefix in ((root / "ds2prof", ""), (root / "parsers", "parsers")):
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder).with_suffix("").parts
            yield path, tuple(part for part in ((prefix, *inside) if prefix else inside) if part != "__init__")


def imported(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:  # the injected package goes by another name in the programs of others
                assert path.parent.name == "inject", f"{path}: imports are absolute"
                yield f"ds2prof.inject.{node.module or ''}".rstrip(".")
                continue
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "ds2prof" else (module,)


def layer(part: str) -> int:
    if part in LAUNCH_SIDE:
        return 2
    return LAYERS.get(part, VOCABULARY)


def area(part: str) -> str:
    return "launch" if part in LAUNCH_SIDE else part


def test_imports_point_down(root):
    upward = []
    for path, parts in modules(root):
        own = parts[0] if parts else "__main__"
        for name in imported(path):
            words = name.split(".")
            if words[0] != "ds2prof" or len(words) < 2 or words[1].startswith("__"):
                continue
            if layer(words[1]) > layer(own):
                upward.append(f"{path.relative_to(root)} imports {name}")
    assert upward == []


def test_the_four_kinds_of_work_do_not_know_each_other(root):
    crossing = []
    for path, parts in modules(root):
        own = area(parts[0]) if parts else ""
        if own not in WORK:
            continue
        for name in imported(path):
            words = name.split(".")
            if words[0] == "ds2prof" and len(words) > 1 and area(words[1]) in WORK - {own}:
                crossing.append(f"{path.relative_to(root)} imports {name}")
    assert crossing == []


def test_torch_is_imported_in_the_workload_alone(root):
    found = [
        str(path.relative_to(root))
        for path, parts in modules(root)
        if (parts[0] if parts else "") not in TORCH_ALLOWED
        and any(name.split(".")[0] in ("torch", "nvtx") for name in imported(path))
    ]
    assert found == []


def test_the_ground_imports_the_standard_library_alone(root):
    for name in ("errors", "units"):
        found = {module.split(".")[0] for module in imported(root / "ds2prof" / f"{name}.py")}
        assert found <= set(sys.stdlib_module_names)


def test_no_module_shadows_a_standard_one(root):
    forbidden = {"profile", "parser", "types", "io", "csv", "logging"}
    assert [path.name for path, _ in modules(root) if path.stem in forbidden] == []


@pytest.mark.parametrize("module", ["ds2prof.cli", "ds2prof.cli.parse"])
def test_starting_the_command_line_loads_nothing_heavy(module, root):
    heavy = {"torch", "pandas", "matplotlib", "numpy", "msgspec"}
    code = f"import sys, {module}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_parsing_a_small_csv_loads_neither_pandas_nor_torch_nor_matplotlib(root, golden):
    file = next((golden / "ncu_csv").rglob("*.csv"))
    code = (
        "import sys; from ds2prof.cli import cli\n"
        f"cli.main(['parse', {str(file)!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_no_module_outgrows_its_reader(root):
    long = {str(path.relative_to(root)): len(path.read_text().splitlines()) for path, _ in modules(root)}
    assert {name: count for name, count in long.items() if count > 400} == {}
