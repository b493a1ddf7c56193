"""Plain text from wikitext: what stands before the first heading, as a reader of the page sees it.

Templates are not expanded, for that takes the whole wiki: a few that only dress their argument are seen through, the
others leave holes, which are closed.
"""

import re
from collections.abc import Callable, Collection

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, HTMLEntity, Tag, Template, Text, Wikilink
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode

MAX_LEAD_CHARS = 50_000
"""A lead that is longer is a list without headings; no more is parsed, for broken wikitext takes time by its square."""

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_HEADING = re.compile(r"^=[^\n]*=[ \t]*$", re.MULTILINE)
_TEMPLATE_ENDS = re.compile(r"(\{\{)|\}\}")
_TABLE_ENDS = re.compile(r"^[ \t:]*(\{\|)|^[ \t]*\|\}", re.MULTILINE)
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:disambig(?:uation)?\b(?![^|}\n]*\bneeded)[^|}\n]*|dab|geodis|hndis|begriffsklärung|homonymie"
    r"|desambiguación|desambiguação|disambigua|doorverwijspagina|förgrening|ujednoznacznienie)\s*[|}]",
    re.IGNORECASE,
)
"""Templates that mark a page as a disambiguation, in the biggest wikis; page_props knows them all."""
_INTERLANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z-]+)?:\S")
_SILENT = frozenset(
    ["table", "ref", "references", "gallery", "imagemap", "math", "chem", "ce", "score", "timeline", "graph", "section",
     "syntaxhighlight", "source", "templatestyles", "templatedata", "mapframe", "maplink", "indicator", "inputbox",
     "categorytree", "hiero", "style", "script", "includeonly"]
)  # fmt: skip
"""Tags whose content is no running text."""
_SEEN_THROUGH = {"nowrap": "1", "nobr": "1", "lang": "2"}
"""Templates that only dress one argument, and which."""
_CONVERT = frozenset(["convert", "cvt"])
"""Templates of a measure: numbers, words between them, the unit; then the units to which it is converted."""
_SHOWS_TEXT = re.compile(rf"\{{\{{\s*(?:{'|'.join([*_SEEN_THROUGH, *_CONVERT])})\s*\|", re.IGNORECASE)
_NUMBER_OR_BETWEEN = re.compile(r"[-+\u2212\d.,/ ]*|to|and|or|by|x|to\(-\)|\u2013", re.IGNORECASE)

_HOLES = (
    (re.compile(r"[\u00a0\u2000-\u200a\u202f\u3000\t]"), " "),
    (re.compile(r"[\u200b-\u200f\u2060\ufeff]"), ""),
    (re.compile(r" {2,}"), " "),
    (re.compile(r" *\n\s*"), "\n"),
    (re.compile(r"'{5}|'{2,3}"), ""),
    (re.compile(r"__[A-Z]+__"), ""),
    (re.compile(r"([,;])(?:\s*[,;])+"), r"\1"),
    (re.compile(r"([(\[])(?:[\s,;:/]|[\u2013\u2014-](?=[\s,;)\]]))+"), r"\1"),
    (re.compile(r"(?<![\s,;:/])(?:[\s,;:/]|(?<=\s)[\u2013\u2014])++([)\]])"), r"\1"),
    (re.compile(r" ?(?:\(\)|\[\])"), ""),
    (re.compile(r" (?=[,.)](?:\s|$))", re.MULTILINE), ""),
    (re.compile(r",(?=[.)])"), ""),
)
"""What to close and how, in this order."""


class WikitextError(ValueError):
    """The wikitext cannot be parsed."""


def read_intro(wikitext: str, embedded: Collection[str]) -> str:
    """Returns the plain text before the first heading, paragraphs separated by one line break.

    Args:
        embedded: names of the namespaces of files and categories, lower case: a link to one shows no text.

    Raises:
        WikitextError: if the parser gives up.
    """
    shown = _cut(_cut(_COMMENT.sub("", wikitext), _TEMPLATE_ENDS), _TABLE_ENDS)
    heading = _HEADING.search(shown)
    lead = shown[: heading.start()] if heading else shown
    try:
        code = mwparserfromhell.parse(lead[:MAX_LEAD_CHARS], skip_style_tags=True)
    except ParserError as error:
        raise WikitextError(str(error)) from error
    return close_holes(_render(code, embedded))


def is_disambiguation_page(wikitext: str) -> bool:
    """True where a template anywhere in the page marks it as a disambiguation."""
    return _DISAMBIGUATION.search(wikitext) is not None


def close_holes(text: str) -> str:
    """Returns a text without what removed templates leave: empty brackets, orphaned commas, doubled spaces."""
    before = None
    while text != before:  # closing one hole may open the next: "(, ())"
        before = text
        for pattern, replacement in _HOLES:
            text = pattern.sub(replacement, text)
    return text.strip()


def _cut(wikitext: str, ends: re.Pattern[str]) -> str:
    """Returns wikitext without the outermost templates, or tables, that show no text.

    The parser would take them for most of its work, and a heading in one is none. What is not closed is left to it.

    Args:
        ends: finds where one begins (a group) or ends.
    """
    kept, at, depth, start = [], 0, 0, 0
    for end in ends.finditer(wikitext):
        if end[1]:
            start = end.start() if depth == 0 else start
            depth += 1
        elif depth > 0:
            depth -= 1
            if depth == 0 and not _SHOWS_TEXT.match(wikitext, start):
                kept.append(wikitext[at:start])
                at = end.end() + wikitext.startswith("}", end.end())  # "|}}}" ends a table and its template
    return "".join([*kept, wikitext[at:]])


def _render(code: Wikicode, embedded: Collection[str]) -> str:
    return "".join(_RENDERERS[type(node)](node, embedded) for node in code.nodes if type(node) in _RENDERERS)


def _render_text(node: Text, _: Collection[str]) -> str:
    return str(node.value)


def _render_link(node: Wikilink, embedded: Collection[str]) -> str:
    title = str(node.title).strip()
    prefix = title.partition(":")[0].strip().lower()
    if prefix in embedded or (node.text is None and _INTERLANGUAGE.match(title)):
        return ""
    return title.lstrip(":") if node.text is None else _render(node.text, embedded)


def _render_url(node: ExternalLink, embedded: Collection[str]) -> str:
    return "" if node.title is None else _render(node.title, embedded)


def _render_entity(node: HTMLEntity, _: Collection[str]) -> str:
    return str(node.normalize())


def _render_tag(node: Tag, embedded: Collection[str]) -> str:
    name = str(node.tag).strip().lower()
    if name in ("br", "hr"):
        return "\n"
    return "" if name in _SILENT or node.contents is None else _render(node.contents, embedded)


def _render_template(node: Template, embedded: Collection[str]) -> str:
    name = str(node.name).strip().lower()
    if name in _CONVERT:
        values = [_render(argument.value, embedded).strip() for argument in node.params if not argument.showkey]
        units = [number for number, value in enumerate(values) if not _NUMBER_OR_BETWEEN.fullmatch(value)]
        return " ".join(values[: units[0] + 1]) if units else ""
    shown = _SEEN_THROUGH.get(name)
    return _render(node.get(shown).value, embedded) if shown and node.has(shown) else ""


_RENDERERS: dict[type, Callable[..., str]] = {
    Text: _render_text, Wikilink: _render_link, ExternalLink: _render_url, HTMLEntity: _render_entity,
    Tag: _render_tag, Template: _render_template,
}  # fmt: skip
"""What the kinds of nodes show; comments, template arguments and headings show nothing."""
