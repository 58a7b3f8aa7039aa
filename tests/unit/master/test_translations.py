"""Everything that pages say goes through gettext, and every language says all of it."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from jinja2 import Environment, nodes

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "master/web/templates"
LANGUAGES = sorted((ROOT / "master/translations").glob("*/LC_MESSAGES/messages.po"))
REMEDY = "Run `make translations` and translate what is empty in the .po files."
# Names, and what is the same everywhere.
# Values of attributes that an expression chooses.
VALUES = {"any", "true", "false", "light", "dark", "ascending", "descending"}
NAMES = {"OpenRaaS", "Redis", "s", "ms", "°C"}
SPOKEN_ATTRIBUTES = {"aria-label", "title", "placeholder", "alt", "data-empty", "data-close"}
SILENT_ELEMENTS = {"code", "script", "style"}
_HOLE = "\x00"


def said() -> set[object]:
    """Every message in the code; plural ones as pairs."""
    with (ROOT / "babel.cfg").open() as text:
        methods, options = parse_mapping_cfg(text)
    keywords = {**DEFAULT_KEYWORDS, "_l": None, "lazy_gettext": None}
    found = extract_from_dir(str(ROOT), methods, options, keywords=keywords)
    return {tuple(item[2]) if isinstance(item[2], tuple | list) else item[2] for item in found}


def read(path: Path) -> Catalog:
    with path.open("rb") as text:
        return read_po(text, locale=path.parent.parent.name)


def messages(catalogue: Catalog) -> Iterator[tuple[Message, list[str], list[str]]]:
    """Each with its forms in the code's language and in the other."""
    for message in catalogue:
        if message.id:
            ids = list(message.id) if isinstance(message.id, tuple) else [message.id]
            texts = list(message.string) if isinstance(message.string, tuple) else [message.string]
            yield message, ids, texts


@pytest.fixture(params=LANGUAGES, ids=lambda path: path.parent.parent.name)
def catalogue(request: pytest.FixtureRequest) -> Catalog:
    return read(request.param)


def test_every_language_has_exactly_what_the_code_says(catalogue: Catalog) -> None:
    known = {message.id for message, _, _ in messages(catalogue)}
    assert said() - known == set(), f"not in the translations. {REMEDY}"
    assert known - said() == set(), f"said nowhere any more. {REMEDY}"


def test_nothing_is_untranslated_or_only_guessed(catalogue: Catalog) -> None:
    wrong = [ids[0] for message, ids, texts in messages(catalogue) if message.fuzzy or not all(texts)]
    assert wrong == [], REMEDY


def test_a_translation_has_the_same_parts_filled_in(catalogue: Catalog) -> None:
    def parts(text: str) -> set[str]:
        return set(re.findall(r"%\((\w+)\)", text))

    wrong = [
        ids[0]
        for _, ids, texts in messages(catalogue)
        if any(parts(text) != parts(ids[-1]) for text in texts)
    ]
    assert wrong == []


class _Words(HTMLParser):
    """Collects what a person would read or hear of a page, apart from what is filled in."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in SILENT_ELEMENTS
        self.found += [value or "" for name, value in attrs if name in SPOKEN_ATTRIBUTES]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in SILENT_ELEMENTS

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


def bare_words(source: str) -> list[str]:
    """The words of a template that are in no gettext."""
    tree = Environment(extensions=["jinja2.ext.i18n"], autoescape=True).parse(source)
    page: list[str] = []
    loose: list[str] = []
    for output in tree.find_all(nodes.Output):
        for part in output.nodes:
            if isinstance(part, nodes.TemplateData):
                page.append(part.data)
            else:
                page.append(_HOLE)
                loose += _literals(part)
    words = _Words()
    words.feed("".join(page))
    return [word for text in (*words.found, *loose) for word in _unknown(text)]


def _literals(node: nodes.Node) -> list[str]:
    """Texts that an expression may put out as they stand; what it calls or filters is its own business."""
    if isinstance(node, nodes.Const):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, nodes.CondExpr):
        return [text for side in (node.expr1, node.expr2) if side for text in _literals(side)]
    if isinstance(node, nodes.Or | nodes.And):
        return [*_literals(node.left), *_literals(node.right)]
    if isinstance(node, nodes.Concat):
        return [text for part in node.nodes for text in _literals(part)]
    return []


def _unknown(text: str) -> list[str]:
    # A setting (`people.count=200`) is no word.
    parts = (part for part in text.replace(_HOLE, " ").split() if "=" not in part)
    words = (part.strip(string.punctuation + "·→←–×…") for part in parts)
    return [word for word in words if any(map(str.isalpha, word)) and word not in NAMES | VALUES]


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_no_word_of_a_page_is_outside_gettext(path: Path) -> None:
    assert bare_words(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>Hello {{ name }}</p>", ["Hello"]),
        ('<p>{{ _("Hello") }}</p>', []),
        ('<p title="Go">{{ "Stop" if x else _("Go") }}</p>', ["Go", "Stop"]),
        ("<code>openraas up</code> OpenRaaS", []),
        ("{{ x or 'nobody' }}", ["nobody"]),
    ],
)
def test_bare_words_are_noticed(source: str, found: list[str]) -> None:
    assert bare_words(source) == found
