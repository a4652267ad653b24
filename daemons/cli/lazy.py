"""A group whose commands are imported when they are called: `headnode poke` does not load what `headnode demo` needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Later:
    """A command that is not loaded yet: its name, what the list of commands says of it, and where it is ("module:attribute", a
    function or a Typer).
    """

    name: str
    summary: str
    place: str
    panel: str = "Commands"

    def load(self) -> Any:
        """The command with all its options, as click has it."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            found.info.name = self.name
            found._add_completion = False  # noqa: SLF001  `add_typer` would leave it to the first command too
            command: Any = typer.main.get_command(found)
        else:
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command(self.name)(found)
            command = typer.main.get_command(alone)
        command.name = self.name
        return command


class LazyGroup(TyperGroup):
    """Knows its commands' names and summaries. `--help` and completion of a command's name load none of them."""

    table: ClassVar[Sequence[Later]] = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._later = {one.name: one for one in self.table}
        for one in self.table:
            self.commands[one.name] = TyperCommand(name=one.name, help=one.summary, rich_help_panel=one.panel)

    def load(self, name: str) -> Any:
        """The command of that name, whole. Raises KeyError where there is none."""
        if (later := self._later.pop(name, None)) is not None:
            self.commands[name] = later.load()
        return self.commands[name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Called for a command that is to run, to say its help, or to complete its arguments."""
        if args and args[0] in self._later:
            self.load(args[0])
        return super().resolve_command(ctx, args)
