"""ds2prof: where the time of a PyTorch training run on a GPU went, and how much of the chip it used.

``ds2prof.read(path)`` gives the :class:`~ds2prof.api.Profile` in a file, ``ds2prof.read_all(path)`` each of those in
a folder or an archive of ranks; ``ds2prof.plots`` draws them.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ds2prof import errors
    from ds2prof.api import Answer, Profile, read, read_all
    from ds2prof.report import plots

__version__ = "0.1.0"
__all__ = ["Answer", "Profile", "__version__", "errors", "plots", "read", "read_all"]

# A checkout keeps parsers/ and profilers/ at its top level, while an installed ds2prof has them inside itself as
# ds2prof.parsers and ds2prof.profilers. Where pyproject.toml stands beside this package, this is a checkout: its root
# joins the package's search path, so that both names work with nothing installed, and a checkout never half-shadows
# an installed wheel.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "parsers").is_dir():
    __path__.append(str(_root))
del _root

# What users import by name, loaded when they do: `import ds2prof.cli` must not wait for it.
_LAZY = {
    "read": "ds2prof.api",
    "read_all": "ds2prof.api",
    "Profile": "ds2prof.api",
    "Answer": "ds2prof.api",
}


def __getattr__(name: str) -> Any:
    if name == "plots":
        return import_module("ds2prof.report.plots")
    if name == "errors":
        return import_module("ds2prof.errors")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ds2prof' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
