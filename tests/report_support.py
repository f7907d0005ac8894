"""A report read back: its tables, numbers and sections, by the standard library's HTML parser alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "link", "br", "rect", "use", "path", "stop"}


@dataclass
class Node:
    """An element: its name, attributes, children and texts."""

    tag: str
    attributes: dict
    children: list = field(default_factory=list)

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def all(self, tag, **attributes):
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            node
            for node in self.walk()
            if node.tag == tag and all(node.attributes.get(name) == value for name, value in wanted.items())
        ]

    def first(self, tag, **attributes):
        return self.all(tag, **attributes)[0]

    @property
    def text(self):
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join("".join(parts).split())

    def has_class(self, name):
        return name in (self.attributes.get("class") or "").split()


class Reader(HTMLParser):
    """Builds the tree; an element that is closed wrongly is an error."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = Node("#root", {})
        self.open = [self.root]
        self.names = []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}>: an attribute twice"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if "id" in node.attributes:
            self.names.append(node.attributes["id"])
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Node(tag, dict(attrs)))
        if "id" in dict(attrs):
            self.names.append(dict(attrs)["id"])

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)


def read(text):
    """The tree of a page."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root], "something is not closed"
    assert len(set(reader.names)) == len(reader.names), "an id twice"
    return reader.root


@dataclass(frozen=True)
class Number:
    """A number on the page: where it stands, its value in base units, and what is read."""

    table: str
    row: str
    column: str
    value: float | int
    text: str


def _value(text):
    return float(text) if any(mark in text for mark in ".en") else int(text)


def row_label(row):
    """What names a row: the text of its heading, of a folded name its short form."""
    heading = row.first("th")
    summaries = heading.all("summary")
    return (summaries[0] if summaries else heading).text


def table_numbers(page):
    """Every number in a table."""
    for table in page.all("table"):
        columns = [head.attributes["data-column"] for head in table.all("thead")[0].all("th")]
        for row in [row for body in (*table.all("tbody"), *table.all("tfoot")) for row in body.all("tr")]:
            cells = [child for child in row.children if isinstance(child, Node)]
            for column, cell in zip(columns, cells, strict=False):
                value = cell.attributes.get("data-value")
                if value:
                    yield Number(table.attributes["id"], row_label(row), column, _value(value), cell.text)


def told_numbers(page):
    """Every number that stands by itself, by its name."""
    for section in page.all("section"):
        for told in section.all("data"):
            value = _value(told.attributes["value"])
            yield Number(section.attributes["id"], "", told.attributes["data-name"], value, told.text)


def numbers(page):
    """All numbers of a page."""
    return [*table_numbers(page), *told_numbers(page)]
