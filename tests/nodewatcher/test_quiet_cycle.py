"""What a look costs while nothing changes, as benchmarks.nodes measures it for ten thousand nodes."""

import pytest

from benchmarks.nodes import measure


@pytest.mark.parametrize("nodes", [50, 500])
def test_a_quiet_cycle_asks_each_source_once_at_any_size(nodes: int) -> None:
    row = measure(nodes)
    assert (row["aws"], row["scheduler"]) == (2, 2)
