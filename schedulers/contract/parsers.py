"""Recorded text, and a function that reads it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from daemons.errors import SchedulerUnavailable

_CUTS = 97  # a prime, so that cuts fall everywhere
GARBAGE = ("", "\n", "command not found", "<html>", "{", "\x00\x01", "error: cannot contact server\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One answer of the scheduler's, and what is in it by a person's reading: `parse(text)` is `golden`.

    `truncatable`: the format has no end, so that a part of it may be read as a shorter whole (declared, not hidden).
    """

    name: str
    text: str
    parse: Callable[[str], Any]
    golden: Any
    truncatable: bool = False


class ParserContract:
    """The author sets `answers`."""

    answers: ClassVar[Sequence[Recorded]] = ()

    def test_there_are_recordings(self) -> None:
        assert self.answers, "set `answers`"

    def test_each_is_read_as_a_person_reads_it(self, subtests: pytest.Subtests) -> None:
        for one in self.answers:
            with subtests.test(one.name):
                assert one.parse(one.text) == one.golden

    def test_a_part_of_an_answer_is_none(self, subtests: pytest.Subtests) -> None:
        """Cut off anywhere: an error, or all that was in it; never less."""
        for one in self.answers:
            whole = one.text.rstrip()
            for length in range(0, 0 if one.truncatable else len(whole), max(1, len(whole) // _CUTS)):
                with subtests.test(one.name, length=length):
                    try:
                        seen = one.parse(whole[:length])
                    except SchedulerUnavailable:
                        continue
                    assert seen == one.golden

    def test_garbage_is_no_answer(self, subtests: pytest.Subtests) -> None:
        for one in self.answers:
            for text in GARBAGE:
                if one.truncatable and not text.strip():
                    continue  # nothing is a list of nothing there
                with subtests.test(one.name, text=text), pytest.raises(SchedulerUnavailable):
                    one.parse(text)
