"""Generated parts inside pages that people write: from `<!-- made: NAME -->` to `<!-- end -->`."""

import re
from collections.abc import Mapping, Sequence

_BLOCK = re.compile(r"(<!-- made: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def renew(text: str, parts: Mapping[str, str], source: str) -> str:
    """The page with each part as it is now. Raises KeyError for a part that nobody makes."""

    def one(match: re.Match[str]) -> str:
        if match[2] not in parts:
            raise KeyError(f"{source}: nobody makes {match[2]}; there are {', '.join(sorted(parts))}")
        return f"{match[1]}{parts[match[2]].rstrip()}\n{match[3]}"

    return _BLOCK.sub(one, text)


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
