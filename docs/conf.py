"""Sphinx's settings. `make docs` builds the pages into build/docs, and a warning is an error."""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "headnode"
release = importlib.metadata.version("headnode")
extensions = ["myst_parser"]
exclude_patterns = ["make", "recorded"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {
    "description": "Keeps an elastic HPC cluster on AWS the right size",
    "page_width": "1160px",
    "sidebar_width": "240px",
}
html_show_copyright = False
html_show_sourcelink = False

_LINK = re.compile(r"\[([^\]]+)\]\(([^)#:\s]+)\)")


def name_sources(text: str, directory: Path) -> str:
    """In these pages a file of the source is named by its path, because there is nothing here that a link could lead to."""

    def one(match: re.Match[str]) -> str:
        label, target = match[1], (directory / match[2]).resolve()
        if not target.exists() or target.is_relative_to(DOCS):
            return match[0]  # a page, or a mistake that Sphinx shall find
        path = f"`{target.relative_to(ROOT)}`"
        return path if label.strip("`").split("/")[-1] == target.name else f"{label} ({path})"

    return _LINK.sub(one, text)


def _read(app: Any, docname: str, source: list[str]) -> None:
    source[0] = name_sources(source[0], Path(app.env.doc2path(docname)).parent)


def _include(_app: Any, path: Path, _docname: str, source: list[str]) -> None:
    source[0] = name_sources(source[0], (DOCS / path).resolve().parent)


def setup(app: Any) -> None:
    app.connect("source-read", _read)
    app.connect("include-read", _include)
