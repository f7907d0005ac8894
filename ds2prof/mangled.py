"""Mangled C++ names, demangled: ``_Z6kernelIfEvPT_i`` is ``void kernel<float>(float*, int)``.

Only profilers of the nvprof line leave names mangled. What is here is the part of the Itanium C++ ABI's grammar (its
section on external names) that names of kernels use, written as binutils writes names. A name with anything else in it
is not demangled at all, rather than wrongly.

    mangled   := "_Z" encoding
    encoding  := name (return type)? parameter types        a return type only where the name ends in template arguments
    name      := "N" qualifiers prefix* part "E" | "Z" encoding "E" name | part template-args?
    part      := length identifier | operator | "C1".. | "D0".. | "Ul" types "E" n? "_" | "Ut" n? "_"
    args      := "I" (type | "L" type value "E" | "X" expression "E" | "J" arg* "E")* "E"
    type      := builtin | ("P" | "R" | "O" | "K" | "V") type | name | "T" n? "_" | "S" n? "_" | "A" n "_" type
               | "F" types "E" | "M" type type | "Dp" type | "DT" expression "E"

Names are untrusted text: depth, steps and the length of everything made are bounded.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Final

from ds2prof.mangled_names import MAX_LENGTH, NUMBER, OPERATORS, Arg, Names, NotKnownError, Type, flat

# fmt: off
_BUILTINS: Final = {
    "v": "void", "w": "wchar_t", "b": "bool", "c": "char", "a": "signed char", "h": "unsigned char", "s": "short",
    "t": "unsigned short", "i": "int", "j": "unsigned int", "l": "long", "m": "unsigned long", "x": "long long",
    "y": "unsigned long long", "n": "__int128", "o": "unsigned __int128", "f": "float", "d": "double",
    "e": "long double", "g": "__float128", "z": "...",
}
# fmt: on
_LONG_BUILTINS: Final = {
    "Dn": "decltype(nullptr)",
    "Dh": "_Float16",
    "Di": "char32_t",
    "Ds": "char16_t",
    "Du": "char8_t",
    "Da": "auto",
    "Dc": "decltype(auto)",
    "DF16_": "_Float16",
    "DF16b": "std::bfloat16_t",
}
_SUFFIXES: Final = {"i": "", "j": "u", "l": "l", "m": "ul", "x": "ll", "y": "ull"}
_PREFIX_OPERATORS: Final = ("ps", "ng", "ad", "de", "co", "nt")
_BINARY_OPERATORS: Final = tuple(code for code in OPERATORS if code not in (*_PREFIX_OPERATORS, "cl", "ix", "qu"))
_LITERAL: Final = re.compile(r"n?[0-9a-f]{1,40}")


@functools.lru_cache(maxsize=4096)
def demangled(name: str) -> str | None:
    """The demangled name; None where ``name`` is not mangled, or not in a way that is known here."""
    if not name.startswith("_Z") or len(name) > MAX_LENGTH:
        return None
    parser = _Parser(name)
    try:
        text = parser.encoding()
    except (NotKnownError, IndexError):
        return None
    return text if parser.at == len(name) else None


class _Parser(Names):
    """One name while it is taken apart, with its types and values."""

    def _type(self) -> Type:
        found = self._any_type()
        if isinstance(found, tuple):
            return Type(", ".join(flat([found])))
        return found

    def _any_type(self) -> Arg:
        outer = self._args
        found = self._deeper(self._one_type)
        self._args = outer
        return found

    def _one_type(self) -> Arg:
        code = self.name[self.at]
        if code in _BUILTINS:
            self.at += 1
            return Type(_BUILTINS[code])
        for long_code, text in _LONG_BUILTINS.items():
            if self._taken(long_code):
                return Type(text)
        if self._taken("Dp"):
            return self._expansion()
        found = self._compound(code)
        if isinstance(found, Type):
            self._made(found.text)
        return found

    def _compound(self, code: str) -> Arg:
        start, outer, self._touched = self.at, self._touched, False
        if code == "S" and not self._next_is("St"):
            found = self._substitution()
            is_new = self._next_is("I")
            if is_new:
                found = Type((found.text if isinstance(found, Type) else "") + self._template_args())
        elif code == "T":
            found, is_new = self._parameter(), True
            if self._next_is("I"):
                self._see(found, start)
                found = Type((found.text if isinstance(found, Type) else "") + self._template_args())
        else:
            found, is_new = self._other_type(code), True
        if is_new:
            self._see(found, start if self._touched else None)
        self._touched = self._touched or outer
        return found

    def _other_type(self, code: str) -> Type:
        if code in "PROKVr":
            self.at += 1
            return self._pointed(code, self._type())
        if code == "A":
            return self._array()
        if code == "F":
            return self._function()
        if code == "M":
            self.at += 1
            owner, member = self._type(), self._type()
            if member.is_inner:
                return Type(f"{member.left} ({owner.text}::*", f"){member.right.lstrip()}", is_inner=True)
            return Type(f"{member.left} {owner.text}::*", member.right)
        if self._taken("DT") or self._taken("Dt"):
            text = self._deeper(self._expression)
            self._expect("E")
            return Type(f"decltype ({text})")
        if self._taken("u"):
            return Type(self._identifier())
        if code in "NZ" or code.isdigit() or self._next_is("St"):
            # the whole name is seen as a type once; its parts have been seen on the way
            text = self._deeper(self._name).text
            if self._seen and self._seen[-1].value == Type(text) and code == "N":
                self._seen.pop()
            return Type(text)
        raise NotKnownError

    def _pointed(self, code: str, to: Type) -> Type:
        """A pointer, reference or qualified type."""
        mark = {"P": "*", "R": "&", "O": "&&", "K": " const", "V": " volatile", "r": " restrict"}[code]
        if code in "RO" and to.left.endswith("&") and not to.right:
            is_forwarded = code == "O" or not to.left.endswith("&&")
            return to if is_forwarded else replace(to, left=to.left.removesuffix("&"))
        if to.is_inner and mark in ("*", "&", "&&"):
            return Type(f"{to.left} ({mark}", f"){to.right}")
        if to.is_inner and to.right.startswith(" ["):
            return replace(to, left=to.left + mark)
        return replace(to, left=to.left + mark) if not to.is_inner else replace(to, right=to.right + mark)

    def _array(self) -> Type:
        self._expect("A")
        if self.name[self.at].isdigit():
            size = self._match(NUMBER)[0]
        else:
            size = "" if self._next_is("_") else self._deeper(self._expression)
        self._expect("_")
        of = self._type()
        right = of.right[1:] if of.right.startswith(" [") else of.right
        return Type(of.left, f" [{size}]{right}", is_inner=True)

    def _function(self) -> Type:
        self._expect("F")
        self._taken("Y")
        returned, parameters = self._type(), self._parameters()
        self._expect("E")
        return Type(returned.left, f"({parameters}){returned.right}", is_inner=True)

    def _expansion(self) -> Arg:
        """A pattern once for each element of the packs in it."""
        start, seen, outer, widths = self.at, list(self._seen), self._element, self._widths
        found: list[Type] = []
        number = 0
        while True:
            self.at, self._seen, self._element, self._widths = start, list(seen), number, []
            element = self._type()
            width = max(self._widths, default=0)
            if number < width:
                found.append(element)
            number += 1
            if number >= width:
                break
        self._element, self._widths = outer, widths
        packed = tuple(found)
        self._see(packed, start - 2)
        return packed

    # -- values --------------------------------------------------------------------------------------------------------

    def _literal(self) -> str:
        self._expect("L")
        if self._taken("_Z"):
            text = self._deeper(lambda: self._signature(with_return=False))
        else:
            code = self.name[self.at]
            text = self._value(code, self._type().text)
        self._expect("E")
        return text

    def _value(self, code: str, kind: str) -> str:
        if self._next_is("E"):
            return f"({kind})0" if code != "D" else "nullptr"
        digits = self._match(_LITERAL)[0]
        if code == "b" and digits in "01":
            return "true" if digits == "1" else "false"
        text = f"-{digits[1:]}" if digits.startswith("n") else digits
        if code in _SUFFIXES:
            return text + _SUFFIXES[code]
        return f"({kind})[{text}]" if code in "fde" else f"({kind}){text}"

    def _expression(self) -> str:
        """The value of an expression that depends on template parameters, for the forms that kernels have."""
        if self._next_is("L"):
            return self._literal()
        if self._next_is("T"):
            found = self._parameter()
            return ", ".join(flat([found]))
        for sized in ("st", "at"):
            if self._taken(sized):
                return f"{'sizeof' if sized == 'st' else 'alignof'} ({self._type().text})"
        if self._taken("sr"):
            owner = self._type().text
            text = f"{owner}::{self._part('')}"
            return text + self._template_args() if self._next_is("I") else text
        if self._taken("cv"):
            kind = self._type().text
            return f"({kind})({self._deeper(self._expression)})"
        code = self.name[self.at : self.at + 2]
        if code not in (*_PREFIX_OPERATORS, *_BINARY_OPERATORS):
            raise NotKnownError
        self.at += 2
        first = self._deeper(self._expression)
        if code in _PREFIX_OPERATORS:
            return self._made(f"{OPERATORS[code]}({first})")
        return self._made(f"({first}){OPERATORS[code]}({self._deeper(self._expression)})")
