"""Loaded by Python at the start of every process of a capture: waits until torch is imported and lets ds2prof in then.

Whatever Python a program starts comes by here, so this file keeps to words that every Python since 2.7 knows, costs a
process without torch one comparison for each of its imports, and hands on to the ``sitecustomize`` that would have been
loaded in its place. ``sys.path`` is left as if this folder had not been on ``PYTHONPATH``; children still inherit that.
"""

# mypy: ignore-errors

import os
import sys

_HERE = os.path.dirname(os.path.realpath(__file__))
_PACKAGE = "_ds2prof_inject"


def _complain(error):
    text = str(error).partition("\n")[0]
    sys.stderr.write("ds2prof: injection failed (%s: %s); the program goes on\n" % (type(error).__name__, text))


def _tell_loaded():
    status = os.environ.get("DS2PROF_STATUS")
    if status:
        with open(status, "a") as lines:
            lines.write("loaded %d\n" % os.getpid())


def _enter(_module):
    """Loads the package beside this folder, by its path, and starts it."""
    import importlib.util

    folder = os.path.dirname(_HERE)
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)
    importlib.import_module(_PACKAGE + ".session").begin(os.environ)


class _AfterTorch:
    """Finds torch as the others on ``sys.meta_path`` do, and has ``then`` called when its import is complete.

    A program may look for torch (``importlib.util.find_spec``) long before it imports it or without ever doing so:
    what is found is only followed, and this finder leaves when torch has really been loaded.
    """

    def __init__(self, then):
        self.then = then
        self.looking = False

    def find_spec(self, name, path=None, target=None):
        if name != "torch" or self.looking:
            return None
        import importlib.util

        self.looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.looking = False
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader):
        load = loader.exec_module

        def exec_module(module):
            load(module)
            try:
                del loader.exec_module
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self.then(module)
            except Exception as error:
                _complain(error)

        loader.exec_module = exec_module


def _hand_on():
    """Loads the ``sitecustomize`` that this one hides, if there is one. What it raises is its own affair."""
    ours = sys.modules.pop("sitecustomize", None)
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != _HERE]
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if getattr(error, "name", "sitecustomize") != "sitecustomize":
            raise
    if ours is not None:
        sys.modules.setdefault("sitecustomize", ours)


try:
    if os.environ.get("DS2PROF_INJECT") or os.environ.get("DS2PROF_INJECT_RUN_LOG"):
        _tell_loaded()
        if sys.version_info >= (3, 8):
            sys.meta_path.insert(0, _AfterTorch(_enter))
except Exception as error:
    _complain(error)
_hand_on()
