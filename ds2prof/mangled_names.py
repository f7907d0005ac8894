"""The names in a mangled C++ name: see :mod:`ds2prof.mangled`, which adds the types."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, TypeVar

from ds2prof.demangled import ANONYMOUS

MAX_DEPTH: Final = 60
MAX_LENGTH: Final = 1 << 14
"""Of a mangled name, and of whatever is made of it."""

_STANDARD: Final = {
    "t": "std",
    "a": "std::allocator",
    "b": "std::basic_string",
    "s": "std::string",
    "i": "std::istream",
    "o": "std::ostream",
    "d": "std::iostream",
}
# fmt: off
OPERATORS: Final = {
    "nw": " new", "na": " new[]", "dl": " delete", "da": " delete[]", "ps": "+", "ng": "-", "ad": "&", "de": "*",
    "co": "~", "pl": "+", "mi": "-", "ml": "*", "dv": "/", "rm": "%", "an": "&", "or": "|", "eo": "^", "aS": "=",
    "pL": "+=", "mI": "-=", "mL": "*=", "dV": "/=", "rM": "%=", "aN": "&=", "oR": "|=", "eO": "^=", "ls": "<<",
    "rs": ">>", "lS": "<<=", "rS": ">>=", "eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">=",
    "nt": "!", "aa": "&&", "oo": "||", "pp": "++", "mm": "--", "cm": ",", "pm": "->*", "pt": "->", "cl": "()",
    "ix": "[]", "qu": "?", "ss": "<=>",
}
# fmt: on
_CONSTRUCTORS: Final = ("C1", "C2", "C3", "D0", "D1", "D2")
NUMBER: Final = re.compile(r"[0-9]{1,9}")
_SEQUENCE: Final = re.compile(r"([0-9A-Z]{0,5})_")


class NotKnownError(Exception):
    """The name holds something that is not in the grammar above."""


@dataclass(frozen=True)
class Type:
    """A type as text, in two halves: what is pointed to by ``*`` stands between them."""

    left: str
    right: str = ""
    is_inner: bool = False  # functions and arrays: a star needs brackets

    @property
    def text(self) -> str:
        """The type by itself."""
        return f"{self.left} {self.right}" if self.right.startswith("(") else self.left + self.right


class Seen(NamedTuple):
    """What a substitution stands for; where it starts in the name if it must be read anew each time."""

    value: Type | tuple[Type, ...]
    start: int | None


class Name(NamedTuple):
    """A name, and what decides how the function that has it is written."""

    text: str
    qualifiers: str = ""
    is_template: bool = False
    has_return: bool = True


Arg: TypeAlias = "Type | tuple[Type, ...]"  # a tuple is a pack
Made = TypeVar("Made")


class Names(ABC):
    """One name while it is taken apart, from left to right."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.at = 2
        self._depth = 0
        self._steps = 0
        self._seen: list[Seen] = []
        self._touched = False  # a template parameter was met
        self._args: list[Arg] = []
        self._element: int | None = None  # of the packs in the pattern that is being expanded
        self._widths: list[int] = []
        self._in_lambda = False

    def _deeper(self, step: Callable[[], Made]) -> Made:
        """What ``step`` makes, one level further in; not too deep, nor in more steps than the name has letters."""
        self._depth += 1
        self._steps += 1
        if self._depth > MAX_DEPTH or self._steps > len(self.name):
            raise NotKnownError
        found = step()
        self._depth -= 1
        return found

    # -- the text ------------------------------------------------------------------------------------------------------

    def _next_is(self, *starts: str) -> bool:
        return self.name.startswith(starts, self.at)

    def _taken(self, start: str) -> bool:
        if not self.name.startswith(start, self.at):
            return False
        self.at += len(start)
        return True

    def _expect(self, start: str) -> None:
        if not self._taken(start):
            raise NotKnownError

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.name, self.at)
        if found is None:
            raise NotKnownError
        self.at = found.end()
        return found

    def _made(self, text: str) -> str:
        if len(text) > MAX_LENGTH:
            raise NotKnownError
        return text

    def _sequence(self, *, base: int = 10) -> int:
        """``_`` is 0, ``0_`` is 1, ``10_`` is 11."""
        digits = self._match(_SEQUENCE)[1]
        try:
            return int(digits, base) + 1 if digits else 0
        except ValueError:
            raise NotKnownError from None

    def _until_end(self, one: Callable[[], Arg]) -> list[Arg]:
        found = []
        while not self._taken("E"):
            found.append(one())
        return found

    # -- names ---------------------------------------------------------------------------------------------------------

    def encoding(self) -> str:
        """A function's name and parameters, with its return type where it is written."""
        return self._signature(with_return=True)

    def _signature(self, *, with_return: bool) -> str:
        outer, self._args = self._args, []
        name = self._name()
        text = name.text
        if self.at < len(self.name) and not self._next_is("E"):
            returned = self._type() if name.is_template and name.has_return else None
            parameters = self._parameters()
            text = f"{text}({parameters}){name.qualifiers}"
            if returned is not None and with_return:
                joint = "" if returned.is_inner else " "
                text = f"{returned.left}{joint}{text}{returned.right}"
        self._args = outer
        return self._made(text)

    def _parameters(self) -> str:
        found: list[Arg] = []
        while self.at < len(self.name) and not self._next_is("E"):
            found.append(self._any_type())
        texts = flat(found)
        return "" if texts == ["void"] else self._made(", ".join(texts))

    def _name(self) -> Name:
        if self._taken("N"):
            return self._nested()
        if self._taken("Z"):
            return self._local()
        if self._next_is("S") and not self._next_is("St"):
            found = self._substitution()
            text, is_known = found.text if isinstance(found, Type) else "", True
        else:
            text, is_known = self._unscoped(), False
        if not self._next_is("I"):
            return Name(text)
        if not is_known:
            self._see(Type(text))
        return Name(self._made(text + self._template_args()), is_template=True)

    def _unscoped(self) -> str:
        if self._taken("St"):
            return f"std::{self._part('')}"
        return self._part("")

    def _nested(self) -> Name:
        qualifiers = "".join(word for code, word in (("V", " volatile"), ("K", " const")) if self._taken(code))
        qualifiers += " &" if self._taken("R") else " &&" if self._taken("O") else ""
        text, last, is_template, has_return = "", "", False, True
        while not self._taken("E"):
            is_seen = False
            if self._next_is("I"):
                text, is_template = text + self._template_args(), True
            elif self._next_is("S") and not self._next_is("St"):
                found = self._substitution()
                text = found.text if isinstance(found, Type) else ""
                last, is_seen = _last_part(text), True
            elif self._next_is("T", "DT", "Dt"):
                text = self._type().text
                is_seen = True
            else:
                is_standard = self._taken("St")
                has_return = not self._next_is("C", "D", "cv")
                last = self._part(last)
                text = f"{text}::{last}" if text else f"std::{last}" if is_standard else last
                is_template = False
            if not is_seen and not self._next_is("E"):
                self._see(Type(self._made(text)))
        return Name(self._made(text), qualifiers, is_template, has_return)

    def _local(self) -> Name:
        around = self._deeper(lambda: self._signature(with_return=False))
        self._expect("E")
        if self._taken("s"):
            found = Name("string literal")
        elif self._taken("d"):
            number = self._sequence()
            inner = self._name()
            found = inner._replace(text=f"{{default arg#{number + 1}}}::{inner.text}")
        else:
            found = self._name()
        if self._taken("__"):
            self._match(NUMBER)
            self._expect("_")
        elif self._next_is("_") and self.name[self.at + 1 : self.at + 2].isdigit():
            self.at += 2
        return found._replace(text=self._made(f"{around}::{found.text}"))

    def _part(self, last: str) -> str:
        """One part of a name; ``last`` is the part before, which constructors repeat."""
        self._taken("L")
        if self.name[self.at].isdigit():
            found = self._identifier()
        elif self._taken("Ul"):
            found = self._closure()
        elif self._taken("Ut"):
            found = f"{{unnamed type#{self._sequence() + 1}}}"
        elif self._next_is(*_CONSTRUCTORS):
            found = f"{'~' if self.name[self.at] == 'D' else ''}{last}"
            self.at += 2
            if not last or self._next_is("I"):
                raise NotKnownError
        else:
            found = self._operator()
        while self._taken("B"):
            found = f"{found}[abi:{self._identifier()}]"
        return found

    def _identifier(self) -> str:
        length = int(self._match(NUMBER)[0])
        found = self.name[self.at : self.at + length]
        if not length or len(found) < length:
            raise NotKnownError
        self.at += length
        return ANONYMOUS if re.match(r"_GLOBAL_[._$]N", found) else found

    def _closure(self) -> str:
        outer, self._in_lambda = self._in_lambda, True
        parameters = self._parameters()
        self._in_lambda = outer
        self._expect("E")
        return f"{{lambda({parameters})#{self._sequence() + 1}}}"

    def _operator(self) -> str:
        if self._taken("cv"):
            return f"operator {self._type().text}"
        code = self.name[self.at : self.at + 2]
        if code not in OPERATORS:
            raise NotKnownError
        self.at += 2
        return f"operator{OPERATORS[code]}"

    # -- template arguments and substitutions --------------------------------------------------------------------------

    def _template_args(self) -> str:
        self._expect("I")
        found = self._until_end(self._template_arg)
        self._args = found
        texts = ", ".join(flat(found))
        return self._made(f"<{texts}{' ' if texts.endswith('>') else ''}>")

    def _template_arg(self) -> Arg:
        if self._taken("X"):
            found = Type(self._deeper(self._expression))
            self._expect("E")
            return found
        if self._next_is("L"):
            return Type(self._literal())
        if self._taken("J"):
            packed = self._until_end(self._template_arg)
            return tuple(one for one in packed if isinstance(one, Type))
        return self._any_type()

    def _substitution(self) -> Arg:
        self._expect("S")
        standard = self.name[self.at]
        if standard in _STANDARD:
            self.at += 1
            return Type(_STANDARD[standard])
        number = self._sequence(base=36)
        if number >= len(self._seen):
            raise NotKnownError
        found = self._seen[number]
        return found.value if found.start is None else self._again(found.start, number)

    def _again(self, start: int, number: int) -> Arg:
        """A type that names template parameters, read anew: they may be those of another template now."""
        at, seen = self.at, self._seen
        self.at, self._seen = start, seen[:number]
        found = self._any_type()
        self.at, self._seen = at, seen
        return found

    def _see(self, value: Arg, start: int | None = None) -> None:
        """Remember what ``S_`` and the like refer to; ``start`` where it names template parameters."""
        self._seen.append(Seen(value, start))

    def _parameter(self) -> Arg:
        """A template parameter: what the arguments say it is."""
        self._expect("T")
        number = self._sequence()
        self._touched = True
        if self._in_lambda:
            return Type(f"auto:{number + 1}")
        if number >= len(self._args):
            raise NotKnownError
        found = self._args[number]
        if isinstance(found, tuple) and self._element is not None:
            self._widths.append(len(found))
            return found[self._element] if self._element < len(found) else Type("")
        return found

    # -- what mangled.py adds --------------------------------------------------------------------------------------

    @abstractmethod
    def _type(self) -> Type:
        """A type; the elements of a pack as one."""

    @abstractmethod
    def _any_type(self) -> Arg:
        """A type or a pack."""

    @abstractmethod
    def _literal(self) -> str:
        """A value."""

    @abstractmethod
    def _expression(self) -> str:
        """An expression."""


def flat(found: list[Arg]) -> list[str]:
    """The texts of arguments, those of packs among them."""
    texts: list[str] = []
    for one in found:
        texts += [one.text] if isinstance(one, Type) else [each.text for each in one]
    return [text for text in texts if text]


def _last_part(text: str) -> str:
    """The last part of a name, without its template arguments: what its constructors are called.

    Nothing for the abbreviations of the standard library, whose constructors have other names.
    """
    if text in _STANDARD.values():
        return ""
    return re.sub(r"<.*", "", text, flags=re.DOTALL).rpartition("::")[2]
