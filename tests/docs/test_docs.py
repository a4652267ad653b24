"""The pages: built without a warning and without a network, fresh, and true in what they name."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import pytest
import typer

from daemons.cli import app
from daemons.cli.lazy import LazyGroup
from daemons.config.problems import fields_of
from daemons.config.values import FileEntry
from daemons.events import EVENTS, FIELDS
from docs.make.__main__ import wanted
from docs.make.blocks import renew
from docs.make.settings import PLUGINS, section_in
from schedulers.plugins import load_settings

ROOT = Path(__file__).parents[2]
WRITTEN = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/guide").glob("*.md")])
READ = [*(ROOT / name for name in ("README.md", "CHANGELOG.md", "schedulers/README.md")), *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCES = [ROOT / "docs/reference/configuration.md", ROOT / "docs/reference/commands.md"]
FILES = {".py", ".json", ".jsonl", ".toml", ".unreadable", ".sysusers", ".tmpfiles"}
LINK = re.compile(r"(?<!`)\[[^\]\n]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)

COMMANDS: Any = typer.main.get_command(app)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Like `make docs`; as root, where there is no network at all."""
    alone = ["unshare", "-n"] if os.geteuid() == 0 and shutil.which("unshare") else []
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "--keep-going", "-E", "-b", "html"]
    return subprocess.run(
        [*alone, *sphinx, "-d", f"{target}/doctrees", str(source), str(target)],
        cwd=source.parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages and what they include, to be spoilt."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("schedulers/README.md", "CHANGELOG.md", "systemd/agent.toml.example"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    return root / "docs"


def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    ran = build(ROOT / "docs", tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert "Troubleshooting by symptom" in (tmp_path / "index.html").read_text()
    assert "The contract" in (tmp_path / "plugins.html").read_text()


@pytest.mark.parametrize("wrong", ["[a page](nowhere.md)", "[a place](guide/ask.md#nowhere)", "```{toctree}\nnowhere\n```"])
def test_a_link_that_leads_nowhere_is_an_error(copy: Path, tmp_path: Path, wrong: str) -> None:
    page = copy / "troubleshooting.md"
    right = page.read_text()
    page.write_text(f"{right}\n{wrong}\n")
    try:
        ran = build(copy, tmp_path)
    finally:
        page.write_text(right)
    assert ran.returncode != 0
    assert "nowhere" in ran.stderr


def settings(section: Any = FileEntry, path: str = "") -> Iterator[tuple[str, str]]:
    """Every setting's section and name."""
    for name, hint in get_type_hints(section, include_extras=True).items():
        inner, _ = section_in(hint)
        if inner is not None:
            yield from settings(inner, f"{path}.{name}" if path else name)
        elif path != "scheduler" or name != "settings":
            yield path, name


def setting_names() -> set[str]:
    """Of the file and of headnode's own plugins."""
    return {name for _, name in settings()} | {name for plugin in PLUGINS for name in fields_of(load_settings(plugin))}


@pytest.fixture(scope="module")
def made() -> dict[Path, str]:
    return wanted()


@pytest.mark.parametrize("page", [*WRITTEN, *REFERENCES], ids=named)
def test_what_is_generated_is_fresh(made: dict[Path, str], page: Path) -> None:
    assert page.read_text(encoding="utf-8") == made[page], f"{named(page)} is stale: make reference"


def test_every_setting_is_in_the_reference(made: dict[Path, str]) -> None:
    text = made[ROOT / "docs/reference/configuration.md"]
    names = setting_names()
    assert len(names) > 100
    assert [name for name in sorted(names) if f"| `{name}` |" not in text] == []


def test_a_part_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody makes screen-nothing"):
        renew("<!-- made: screen-nothing -->\n<!-- end -->", {"life": ""}, "a page")


@pytest.mark.parametrize("page", READ, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        parts = urlsplit(target)
        is_address = parts.scheme in ("http", "https") and "." in parts.netloc
        if not (is_address or (not parts.scheme and (page.parent / parts.path).exists())):
            wrong.append(target)
    assert wrong == []


def step(command: Any, word: str) -> Any:
    """The command below that one of that name; None where there is none."""
    if isinstance(command, LazyGroup):
        return command.load(word) if word in {one.name for one in command.table} else None
    return getattr(command, "commands", {}).get(word)


def typed(text: str) -> Iterator[str]:
    """Every `headnode …` that a page has somebody type."""
    for block in FENCE.finditer(text):
        for line in block[0].replace("\\\n", " ").splitlines():
            if match := re.match(r"^(?:.*[|&] *|\$ |.*/bin/)?headnode (.*)", line.strip()):
                yield match[1]
    yield from re.findall(r"`headnode ([^`]+)`", FENCE.sub("", text))


def mistakes(line: str) -> list[str]:
    """What of the line is neither a command nor an option of it."""
    words = re.split(r"\s+[|#]|\s{3,}", line)[0].replace("[", "").replace("]", "").split()
    command = COMMANDS
    for word in words:
        if word.startswith("--"):
            known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
            if word.partition("=")[0] not in known:
                return [f"headnode {line}: {command.name} has no {word}"]
        elif getattr(command, "commands", None):
            if not re.fullmatch(r"[a-z][a-z-]*", word):
                continue
            if (command := step(command, word)) is None:
                return [f"headnode {line}: there is no {word}"]
    return []


@pytest.mark.parametrize("page", [ROOT / "README.md", *WRITTEN], ids=named)
def test_every_command_that_is_named_exists(page: Path) -> None:
    lines = [line for line in typed(page.read_text(encoding="utf-8")) if not line.startswith(("pip", "…"))]
    assert [problem for line in lines for problem in mistakes(line)] == []


def test_commands_are_found_in_the_pages() -> None:
    lines = {line for path in WRITTEN for line in typed(path.read_text(encoding="utf-8"))}
    assert len(lines) > 40
    assert {"explain job 17", "replay", "config check"} <= lines


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert mistakes("explain jbo 17")
    assert mistakes("nodes --wach")
    assert not mistakes("explain job 17          # why it waits")


def test_troubleshooting_and_the_guide_name_only_what_there_is() -> None:
    names = setting_names()
    sections = {section.split(".")[0] for section, _ in settings() if section}
    paths = {f"{section}.{name}" for section, name in settings()} | {f"scheduler.settings.{name}" for name in names}
    events = {event.name for event in EVENTS}
    pages = [path for path in WRITTEN if path.parent.name == "guide" or path.name == "troubleshooting.md"]
    text = "".join(FENCE.sub("", path.read_text(encoding="utf-8")) for path in pages)
    dotted = set(re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", text))
    assert len(dotted & events) > 15
    files = {name for name in dotted if f".{name.rpartition('.')[2]}" in FILES}
    assert dotted - events - paths - files - sections == set()
    bare = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text))
    assert {"idle_for_s", "max_raise"} <= bare
    of_others = {"job_submit", "query_other_jobs", "pbs_server"}  # Slurm's and Torque's words
    others = {*FIELDS, "expires_at", *of_others}  # fields of lines and rows
    assert bare - names - others == set()


def test_there_are_symptoms_enough_each_with_its_command() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    symptoms = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(symptoms) >= 15
    without = [one.splitlines()[0] for one in symptoms if "```sh" not in one and "`headnode " not in one]
    assert without == ["A Spot node was interrupted and its jobs died"]
