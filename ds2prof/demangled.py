"""Demangled C++ names as trees, in one spelling, whoever demangled them.

A name is a list of items: words (``at``, ``::``, ``k``), single blanks, and groups, one per pair of brackets, whose
parts are what commas separate. ``<`` opens a group only behind a word, and ``>`` closes only one of those, so
comparisons in template arguments (``((8)>(0))``) do no harm. What is not balanced is no name, and has no tree.

    name   := item*
    item   := word | " " | group
    group  := "<" parts ">" | "(" parts ")" | "[" parts "]" | "{" parts "}"
    parts  := name ("," name)*

binutils, LLVM and NVIDIA demangle differently. A tree is always as binutils would have it: unnamed namespaces are
``(anonymous namespace)`` and lambdas ``{lambda(int)#1}``, where LLVM writes ``'lambda'(int)`` and NVIDIA
``[lambda(int) (instance 1)]``. Names are untrusted text: everything here takes time linear in their length.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

ANONYMOUS: Final = "(anonymous namespace)"
MAX_DEPTH: Final = 60
MAX_LENGTH: Final = 1 << 16
"""Names that nest deeper or are longer than these stay text: no compiler of today gets there with real code."""

_CLOSERS: Final = {"(": ")", "[": "]", "{": "}", "<": ">"}
_LONG_LONG: Final = ("__int64",)  # nvprof's word
_UNNAMED: Final = ("<unnamed>", "{anonymous}", "`anonymous namespace'", "_NV_ANON_NAMESPACE")


class Group(NamedTuple):
    """A pair of brackets and what stands between its commas."""

    opener: str
    parts: list[list[str | Group]]


Items = list[str | Group]


def plain_text(name: str) -> str:
    """``name`` on one line: control characters and runs of blanks are one blank each, none at the ends."""
    if not name.isprintable():
        name = _patterns()["control"].sub(" ", name)
    return " ".join(name.split())


def parse_items(text: str) -> Items | None:
    """The items of a demangled name; None where its brackets do not match or it is too deep or too long."""
    if len(text) > MAX_LENGTH:
        return None
    for spelling in _UNNAMED:
        if spelling in text:
            text = text.replace(spelling, ANONYMOUS)
    items: Items = []
    around: list[Items] = []
    open_groups: list[Group] = []
    before = ""
    for piece in _patterns()["token"].findall(text):
        if piece in "([{" or (piece == "<" and before[:1].isidentifier()):
            if len(around) == MAX_DEPTH:
                return None
            open_groups.append(Group(piece, [[]]))
            around.append(items)
            items = open_groups[-1].parts[0]
        elif piece in ")]}" or (piece == ">" and open_groups and open_groups[-1].opener == "<"):
            if not open_groups or _CLOSERS[open_groups[-1].opener] != piece:
                return None
            items = around.pop()
            _close(open_groups.pop(), items)
        elif piece == "," and open_groups:
            items = []
            open_groups[-1].parts.append(items)
        else:
            items.append(_word(piece))
        before = piece
    return None if open_groups else items


def render(items: Items) -> str:
    """The items as text in the one spelling: no blanks but between words, no casts or suffixes of literals."""
    out: list[str] = []
    blank = False
    for item in items:
        if item == " ":
            blank = True
            continue
        text = _render_group(item) if isinstance(item, Group) else _literal(item)
        if out and (text == "const" or (blank and _ends_word(out[-1]) and _starts_word(text))):
            out.append(" ")
        out.append(text)
        blank = False
    return "".join(out)


def without_parameters(text: str) -> tuple[str, bool]:
    """(a function's name without its parameter list and what follows it, whether there was one)."""
    head = text if text.endswith(")") and not text.endswith(".kd)") else _without_tail(text)
    if not head.endswith(")") or len(head) > MAX_LENGTH:
        return head, False
    cut = end = len(head)
    depth = 0
    for paren in reversed(list(_patterns()["paren"].finditer(head))):
        depth += 1 if paren[0] == ")" else -1
        if depth == 1 and paren[0] == ")":
            end = paren.end()
        elif depth == 0:
            start = paren.start()
            if end != cut or not start or head[start - 1] in " (,:" or head.endswith("operator", 0, start):
                break
            cut = start
        elif depth < 0:
            break
    return head[:cut], cut < len(head)


def _without_tail(text: str) -> str:
    """A name without what compilers write behind the parameters: qualifiers, HIP's ``.kd``, notes on clones."""
    for suffix in (".kd", " (.kd)", " const", " volatile"):
        text = text.removesuffix(suffix)
    return text.partition(" [clone ")[0] if text.endswith("]") else text


def own_name(items: Items) -> Items:
    """The items of a function's name without its return type: what follows the last blank outside all brackets."""
    for position in range(len(items) - 1, -1, -1):
        if items[position] == " ":
            return items[position + 1 :]
    return items


def lambda_number(item: str | Group) -> int | None:
    """Which lambda of its function this is, the first being 1; None where ``item`` is none."""
    if not isinstance(item, Group) or item.opener != "{" or item.parts[0][:1] != ["lambda"]:
        return None
    number = item.parts[-1][-1] if item.parts[-1] else ""
    return int(number) if isinstance(number, str) and _is_count(number) else None


def _close(group: Group, items: Items) -> None:
    """Appends a finished group, lambdas of LLVM and NVIDIA as binutils has them."""
    word = items[-1] if items else ""
    if group.opener == "(" and isinstance(word, str) and word.startswith("'lambda"):
        items[-1] = _closure(group, int(word[7:-1] or -1) + 2)
    else:
        items.append(_nvidia_closure(group) or group)


def _nvidia_closure(group: Group) -> Group | None:
    """``[lambda(int) (instance 1)]`` as binutils has it; None for any other group."""
    if group.opener != "[" or len(group.parts) != 1 or len(group.parts[0]) != 4 or group.parts[0][0] != "lambda":
        return None
    _, parameters, _, instance = group.parts[0]
    if not isinstance(parameters, Group) or not isinstance(instance, Group) or instance.parts[0][:1] != ["instance"]:
        return None
    number = instance.parts[0][-1]
    return _closure(parameters, int(number)) if isinstance(number, str) and _is_count(number) else None


def _is_count(text: str) -> bool:
    """Whether text is a number that a compiler could have counted to (Python refuses to read very long ones)."""
    return text.isdecimal() and len(text) < 10


def _closure(parameters: Group, number: int) -> Group:
    return Group("{", [["lambda", parameters, "#", str(number)]])


def _render_group(group: Group) -> str:
    return group.opener + ",".join(render(_argument(part)) for part in group.parts) + _CLOSERS[group.opener]


def _argument(items: Items) -> Items:
    """One argument in the one spelling: no cast before a literal, ``const`` behind its type."""
    start = 1 if items[:1] == [" "] else 0
    items = items[start:]
    if len(items) > 1 and isinstance(items[0], Group) and isinstance(items[1], str):
        return _without_cast(items[0], items[1:])
    if "=" in items[1:-1]:  # nvprof's int=2 is (int)2
        place = items.index("=")
        plain = _without_cast(Group("(", [items[:place]]), items[place + 1 :])
        return items if isinstance(plain[0], Group) else plain
    if items[:2] == ["const", " "]:
        pointer = next((place for place, item in enumerate(items) if item in ("*", "&")), len(items))
        behind = pointer - 1 if items[pointer - 1] == " " else pointer
        return [*items[2:behind], "const", *items[pointer:]]
    return items


def _without_cast(cast: Group, rest: Items) -> Items:
    """``(bool)1`` as ``true`` and ``(unsigned long)2`` as ``2``; anything else as it was."""
    digits = rest[1] if rest[0] == "-" and len(rest) > 1 else rest[0]
    typed = cast.opener == "(" and len(cast.parts) == 1 and _is_type(cast.parts[0])
    if not typed or not isinstance(digits, str) or not digits[:1].isdecimal():
        return [cast, *rest]
    if cast.parts[0] == ["bool"] and rest in (["0"], ["1"]):
        return ["true" if rest == ["1"] else "false"]
    return rest


def _is_type(items: Items) -> bool:
    first = items[0] if items else ""
    return isinstance(first, str) and (first[:1].isidentifier() or first == ANONYMOUS)


def _word(token: str) -> str:
    """A token as all demanglers would have written it."""
    if token.isspace():
        return " "
    if token.startswith("_GLOBAL__N_"):
        return ANONYMOUS
    if token in _LONG_LONG:
        return "long long"
    return token.replace(" ", "") if token.startswith("operator") else token


def _literal(word: str) -> str:
    """An integer without its suffix; any other word as it is."""
    return word.rstrip("uUlL") if word[0].isdecimal() else word


def _starts_word(text: str) -> bool:
    return text[:1].isalnum() or text[:1] == "_"


def _ends_word(text: str) -> bool:
    return text[-1:].isalnum() or text[-1:] == "_"


@functools.cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """The regular expressions, compiled when first needed: starting the command line does not wait for them."""
    operators = r"operator ?(?:\(\)|\[\]|->\*?|[-+*/%^&|!=~<>]{1,2}=?(?=[<(]))"
    words = r"'lambda\d{0,6}'|[^\W\d][\w$]*|\d[\w.]*"
    invisible = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069]+"
    return {
        "token": re.compile(rf"{re.escape(ANONYMOUS)}|{operators}|{words}|::|->|\s+|.", re.DOTALL),
        "control": re.compile(invisible),
        "paren": re.compile(r"[()]"),
    }
