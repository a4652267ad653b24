"""`python -m docs.make` writes what is generated; `--check` only says what is stale; `--record` runs the demo for the screens."""

import argparse
import sys
from pathlib import Path

from daemons.events import render_markdown
from docs.make.blocks import renew
from docs.make.commands import render_commands, render_manual
from docs.make.life import render_life
from docs.make.record import RECORDED, record
from docs.make.screens import render_screens
from docs.make.settings import render_settings

DOCS = Path(__file__).parents[1]


def wanted() -> dict[Path, str]:
    """Every page with generated parts, as it should be."""
    references = {"configuration": render_settings(), "commands": render_commands()}
    pages = {DOCS / f"reference/{name}.md": text for name, text in references.items()}
    parts = {"life": render_life(), **render_screens()}
    for path in sorted([*DOCS.glob("*.md"), *DOCS.glob("guide/*.md")]):
        pages[path] = renew(path.read_text(encoding="utf-8"), parts, str(path))
    return pages | {DOCS / "events.md": render_markdown(), DOCS / "headnode.1": render_manual()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.make", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is stale")
    parser.add_argument("--record", action="store_true", help="run the demo anew for the screens, before anything else")
    arguments = parser.parse_args()
    if arguments.record:
        from docs.make.aws import record_aws  # noqa: PLC0415  the sandbox's packages, which nothing else needs

        record(RECORDED)
        record_aws(RECORDED)
    pages = wanted()
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{'stale' if arguments.check else 'written'}: {path.relative_to(DOCS.parent)}")
        if not arguments.check:
            path.write_text(pages[path], encoding="utf-8")
    if stale and arguments.check:
        print("next: make reference", file=sys.stderr)
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
