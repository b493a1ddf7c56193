"""One page of HTML that needs nothing beside it: headings, paragraphs, tables, pictures."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.files import draft_of

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
p, pre { max-width: 50rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
table { display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; white-space: normal; vertical-align: bottom; hyphens: auto; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
td:first-child { max-width: 24rem; white-space: normal; }
.words { white-space: normal; text-align: left; min-width: min(14rem, 40vw); }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; } figcaption, .dim { color: var(--dim); }
pre { overflow-x: auto; background: #8881; padding: .6rem; border-radius: 4px; }
"""


@dataclass
class Page:
    """A page that grows from top to bottom; everything that is given is escaped."""

    title: str
    _parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Begins a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str, *, is_dim: bool = False) -> None:
        """Adds a paragraph."""
        self._parts.append(f"<p{' class=dim' if is_dim else ''}>{html.escape(text)}</p>")

    def code(self, text: str) -> None:
        """Adds lines that can be copied into a shell."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Adds a table; nothing without rows. Columns with long texts stand to the left, all others to the right."""
        if not rows:
            return
        kinds = [" class=words" if max(map(len, column)) > 40 else "" for column in zip(*rows, strict=True)]
        cells = _line("th", head, kinds)
        lines = [_line("td", row, kinds) for row in rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        self._parts.append(f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>")

    def picture(self, path: Path, caption: str) -> None:
        """Adds a PNG, which becomes part of the page."""
        data = base64.b64encode(path.read_bytes()).decode()
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
        )

    def write(self, path: Path) -> Path:
        """Writes the page, whole or not at all."""
        title = html.escape(self.title)
        text = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{_STYLE}</style><h1>{title}</h1>{''.join(self._parts)}</html>\n"
        )
        with draft_of(path) as draft:
            draft.write_text(text, encoding="utf-8")
        return path


def _line(tag: str, values: Sequence[str], kinds: Sequence[str]) -> str:
    return "".join(f"<{tag}{kind}>{html.escape(value)}</{tag}>" for value, kind in zip(values, kinds, strict=True))
