"""`headnode man`: the manual page, made of what the commands say of themselves."""

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import typer

from daemons.cli.commands import COMMANDS
from daemons.cli.lazy import LazyGroup

_ENVIRONMENT = (
    ("HEADNODE_CONFIG", "The configuration, where --config does not name it."),
    ("HEADNODE_LOCAL_FILE", "The file of headnode's own scheduler, for `headnode local`."),
    ("AWS_PROFILE, AWS_ACCESS_KEY_ID, ...", "Credentials, as AWS's own tools take them; on a head node its role has them."),
    ("NO_COLOR, COLUMNS", "No colours; how wide the output is."),
)
_FILES = (
    ("/etc/headnode/headnode.toml", "The configuration, unless told."),
    (
        "/var/lib/headnode/jobwatcher, /var/lib/headnode/nodewatcher",
        "What the services have written: decisions and their inputs.",
    ),
    ("/run/headnode/jobwatcher.sock", "Where `headnode poke` rings."),
)
_EXITS = (
    ("0", "Done; where something is checked: all is well."),
    ("1", "The answer is no: a problem, nothing found, not everything done. Standard error or --json says which."),
    ("2", "The command line or the configuration cannot be used. Nothing was done."),
)


def man() -> None:
    """Print the manual page, headnode(1), for man: `headnode man | man -l -`."""
    from daemons.cli import app  # noqa: PLC0415  it knows this command

    root = typer.main.get_command(app)
    assert isinstance(root, LazyGroup)  # noqa: S101  `app` is made of one
    typer.echo(render_man(root, release=version("headnode")), nl=False)


def render_man(root: LazyGroup, *, release: str) -> str:
    """The whole page in man(7) macros. The same commands always give the same text."""
    return "\n".join(_page(root, release)) + "\n"


def _page(root: LazyGroup, release: str) -> Iterator[str]:
    context = typer.Context(root, info_name="headnode")
    yield f'.TH HEADNODE 1 "" "headnode {_text(release)}" "headnode"'
    yield ".SH NAME"
    yield f"headnode \\- {_text(_uncapital(root.help or ''))}"
    yield ".SH SYNOPSIS"
    yield ".B headnode\n.RI [ OPTION ...]\n.I COMMAND\n.RI [ OPTION ...]\n.RI [ ARGUMENT ...]"
    yield ".SH DESCRIPTION"
    yield _text(
        "Commands that tell something take --json and print one JSON document. Errors go to standard error, with the next step on"
    )
    yield _text(
        "a line that begins with next:. The services themselves are sqswatcher, jobwatcher and nodewatcher; each has --help."
    )
    yield ".SH OPTIONS"
    yield from _parameters(root, context)
    for panel in dict.fromkeys(one.panel for one in COMMANDS):
        yield f".SH {_text(panel.upper())}"
        for one in COMMANDS:
            if one.panel == panel:
                yield from _command(root.load(one.name), f"headnode {one.name}", context)
    for heading, entries in (("EXIT STATUS", _EXITS), ("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        yield f".SH {heading}"
        for name, meaning in entries:
            yield from _entry(f".B {_text(name)}", meaning)
    yield ".SH SEE ALSO\n.BR systemctl (1),\n.BR journalctl (1),\n.BR scontrol (1),\n.BR qstat (1)"


def _command(command: Any, path: str, parent: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece)
    yield f'.SS "{_text(path)} {_text(usage)}"'
    yield from _paragraphs(command.help or "")
    yield from _parameters(command, context)
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _command(inner, f"{path} {name}", context)


def _parameters(command: Any, context: Any) -> Iterator[str]:
    """Arguments first, as they are typed."""
    for param in command.params:
        record = None if getattr(param, "hidden", False) else param.get_help_record(context)
        if record is not None:
            name, meaning = record
            yield from _entry(f".B {_text(' '.join(name.split()))}", " ".join(meaning.split()))


def _entry(tag: str, meaning: str) -> Iterator[str]:
    yield f".TP\n{tag}\n{_text(meaning)}"


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _uncapital(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _text(text: str) -> str:
    """Text that roff shows as it is: no escape, no request, no letter that it does not know, no sign of its own."""
    escaped = "".join(_ESCAPES.get(letter, letter if letter.isascii() else f"\\[u{ord(letter):04X}]") for letter in text)
    return f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped


_ESCAPES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
