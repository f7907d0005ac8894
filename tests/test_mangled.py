"""Mangled names, against the demangler of the C++ library and against names written out by hand."""

from __future__ import annotations

import ctypes
import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ds2prof.mangled import demangled
from ds2prof.mangled_names import MAX_LENGTH

NAMES = {
    "_Z6kernelPfi": "kernel(float*, int)",
    "_Z6kernelv": "kernel()",
    "_Z6kernelIfEvPT_i": "void kernel<float>(float*, int)",
    "_Z6kernelILi32ELb1EEvPKf": "void kernel<32, true>(float const*)",
    "_Z1kILj4ELln5ELm6ELc7EEvv": "void k<4u, -5l, 6ul, (char)7>()",
    "_Z1kIfJidEEvT_DpT0_": "void k<float, int, double>(float, int, double)",
    "_Z1kIfJEEvT_DpT0_": "void k<float>(float)",
    "_ZN2at6native4sumsIfEEvPT_": "void at::native::sums<float>(float*)",
    "_ZN12_GLOBAL__N_11kEv": "(anonymous namespace)::k()",
    "_ZN36_GLOBAL__N__0_9_tmpxft_1_cpp1_ii_0_11kEv": "(anonymous namespace)::k()",
    "_ZNK3Foo3getEv": "Foo::get() const",
    "_ZN3FooC1Ei": "Foo::Foo(int)",
    "_ZN3FooD2Ev": "Foo::~Foo()",
    "_ZZ1fvENKUlT_E_clIiEEDaS_": "auto f()::{lambda(auto:1)#1}::operator()<int>(int) const",
    "_Z1kIZ1fvEUlfE_EvT_": "void k<f()::{lambda(float)#1}>(f()::{lambda(float)#1})",
    "_Z1kIZ1fvEUlfE10_EvT_": "void k<f()::{lambda(float)#12}>(f()::{lambda(float)#12})",
    "_Z1kPFvPvE": "k(void (*)(void*))",
    "_Z1kPA3_i": "k(int (*) [3])",
    "_Z1kM1AFvvE": "k(void (A::*)())",
    "_Z1kRSt6vectorIiSaIiEE": "k(std::vector<int, std::allocator<int> >&)",
    "_ZplRK1AS1_": "operator+(A const&, A const&)",
    "_Z1kI1TEvT_S1_S1_": "void k<T>(T, T, T)",
    "_Z1kIXadL_Z1fvEEEvv": "void k<&(f())>()",
    "kernel": None,
    "_Z": None,
    "_Z6kern": None,
    "_Z99999999k": None,
    "_Z1kS_": None,
    "_Z1kT_": None,
    "_ZTV3Foo": None,
}
"""Mangled name -> what it is; None where it is no name, or not one that is taken apart."""


def library():
    """``abi::__cxa_demangle`` of the C++ library that is installed."""
    try:
        found = ctypes.CDLL("libstdc++.so.6").__cxa_demangle
    except OSError:
        pytest.skip("libstdc++, the tool to compare with, is not installed")
    found.restype = ctypes.c_void_p
    found.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]

    def demangle(name):
        at = found(name.encode(), None, None, ctypes.byref(ctypes.c_int()))
        return ctypes.string_at(at).decode() if at else None

    return demangle


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_demangled_as_binutils_does_or_not_at_all(name):
    assert demangled(name) == NAMES[name]


@pytest.mark.parametrize("name", [name for name, text in NAMES.items() if text])
def test_the_names_written_out_are_those_of_the_library(name):
    assert library()(name) == NAMES[name]


def test_every_mangled_name_of_the_corpus_is_demangled_as_the_library_does(corpus):
    demangle = library()
    names = set()
    for path in [*(corpus / "nvvp").iterdir(), *(corpus / "nsys-sqlite").iterdir()]:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        table = "StringTable" if path.parent.name == "nvvp" else "StringIds"
        names |= {
            text for (text,) in connection.execute(f"SELECT value FROM {table} WHERE value LIKE '\\_Z%' ESCAPE '\\'")
        }
        connection.close()
    assert len(names) > 100
    assert {name: demangled(name) for name in names} == {name: demangle(name) for name in names}


# fmt: off
PIECES = [
    "N", "E", "I", "J", "X", "L", "Z", "T_", "T0_", "S_", "S0_", "St", "Sa", "P", "R", "O", "K", "F", "A3_", "Dp", "Ul",
    "Ut_", "E_", "v", "i", "f", "1a", "3foo", "C1", "cl", "Li3E", "M", "DT", "sr", "pl", "0", "_", "B", "cv",
]
# fmt: on


@given(st.lists(st.sampled_from(PIECES), max_size=24).map(lambda pieces: "_Z" + "".join(pieces)))
@example("_Z" + "P" * 5000 + "i")
@example("_Z" + "1a" + "I" * 5000)
@example("_Z1a" + "".join(f"I{'S_' * 8}E" for _ in range(200)))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_bounded_answer_in_bounded_time(name):
    found = demangled(name)
    assert found is None or len(found) <= MAX_LENGTH


def test_names_that_double_at_every_step_are_not_demangled():
    codes = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    name = "_Z1k1bI1aS0_E" + "".join(f"S_IS{code}_S{code}_E" for code in codes)
    assert demangled(name[: name.index("S_IS2_")]) == "k(b<a, a>, b<b<a, a>, b<a, a> >)"
    assert demangled(name) is None


def test_a_name_that_is_too_long_is_left_alone():
    assert demangled("_Z1k" + "i" * MAX_LENGTH) is None
