"""Cuts work into the sizes that AWS's calls take."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items, in order; none for no items."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
