"""`headnode log-level`: one word of the file changes and nothing else, and who runs is told."""

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from daemons.cli import app
from daemons.cli.rewrite import NotRewritten, rewrite
from daemons.config.edit import with_log_level
from daemons.errors import ConfigError
from tests.needs import skip_or_fail

BASE = """# the site's own words, with an umlaut: \u00e4
cluster = "hpc"
region = "eu-west-1"   # level = "info"
queue = "hpc-events"
table = "hpc-instances"
{more}
[scheduler]
name = "local"
settings = {{ file = "/nonexistent/local.db" }}   # kept

[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
{end}"""


def site(more: str = "", end: str = "") -> str:
    return BASE.format(more=more, end=end)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (site('[log]\nlevel = "info"  # quiet\n'), site('[log]\nlevel = "debug"  # quiet\n')),
        (site("[log]\nlevel='warning'\n"), site("[log]\nlevel='debug'\n")),
        (site('log.level = "info"\n'), site('log.level = "debug"\n')),
        (site('log = { "level" = "info", file = {} }\n'), site('log = { "level" = "debug", file = {} }\n')),
        (site("  [ log ]  # here\n[log.file]\n"), site('  [ log ]  # here\nlevel = "debug"\n[log.file]\n')),
        (site(end="[log.file]\nkeep = 2"), site(end='[log.file]\nkeep = 2\n\n[log]\nlevel = "debug"\n')),
        (site(), site(end='\n[log]\nlevel = "debug"\n')),
        (site("log.file.keep = 2\n"), 'log.level = "debug"\n' + site("log.file.keep = 2\n")),
        (site('[log]\nlevel = "info"\n').replace("\n", "\r\n"), site('[log]\nlevel = "debug"\n').replace("\n", "\r\n")),
        (site("[log]\n").replace("\n", "\r\n"), site('[log]\nlevel = "debug"\n').replace("\n", "\r\n")),
        (site('[log]\nlevel = "debug"\n'), site('[log]\nlevel = "debug"\n')),
        (
            site('[mine]\ntext = """\n[log]\nlevel = "info"\n"""\n[log]\nlevel = "info"\n'),
            site('[mine]\ntext = """\n[log]\nlevel = "info"\n"""\n[log]\nlevel = "debug"\n'),
        ),
        (site('[mine]\nlevel = "info"\n[log]\nlevel = "info"\n'), site('[mine]\nlevel = "info"\n[log]\nlevel = "debug"\n')),
    ],
)
def test_the_level_is_another_and_every_other_character_stays(old: str, new: str) -> None:
    assert with_log_level(old, "debug") == new


@pytest.mark.parametrize("text", ["log = { file = {} }\n", '[log]\nlevel = """info"""\n'])
def test_where_it_has_no_place_none_is_made_up(text: str) -> None:
    assert with_log_level(site(text), "debug") is None


_ODD = st.text(st.sampled_from("[]log.level=\"'#\n\r \t{}=a,"), max_size=60)


@given(more=_ODD)
def test_whatever_the_file_is_nothing_but_the_level_differs(more: str) -> None:
    text = f"a = 1\n{more}\n"
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    fresh = with_log_level(text, "debug")
    if fresh is not None:
        log = said.get("log", {})
        assert tomllib.loads(fresh) == {**said, "log": {**(log if isinstance(log, dict) else {}), "level": "debug"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headnode.toml"
    path.write_text(site('[log]\nlevel = "info"  # quiet\n'))
    return path


def run(file: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["log-level", *words, "--config", str(file)])


def told(file: Path, *words: str, code: int = 0) -> Any:
    done = run(file, *words, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_without_a_level_the_configured_one_is_printed(file: Path) -> None:
    assert run(file).stdout == "info\n"
    file.write_text(site())
    assert told(file) == {"source": str(file), "level": "info"}, "by default"


def test_the_file_keeps_its_owner_mode_and_place_behind_a_link(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1234, 2345)
    before = file.stat()
    link = tmp_path / "etc" / "headnode.toml"
    link.parent.mkdir()
    link.symlink_to(file)
    done = run(link, "debug")
    assert done.exit_code == 0, done.output
    assert f"{link}: log.level is debug, and was info\n" in done.stdout
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert link.is_symlink()
    assert file.read_text() == site('[log]\nlevel = "debug"  # quiet\n')
    assert sorted(tmp_path.iterdir()) == [link.parent, file], "nothing is left behind"


def test_what_it_says_already_is_not_written_again(file: Path) -> None:
    before = file.stat()
    assert "log.level is info already" in run(file, "info").stdout
    assert file.stat().st_ino == before.st_ino


def test_a_mark_at_the_beginning_of_the_file_stays(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert run(file, "error").exit_code == 0
    assert file.read_bytes() == b"\xef\xbb\xbf" + site('[log]\nlevel = "error"  # quiet\n').encode()


def test_labels_of_the_file_are_kept(file: Path) -> None:
    try:
        os.setxattr(file, "user.site", b"ours")
    except OSError:
        skip_or_fail("this file system keeps no labels")
    assert run(file, "debug").exit_code == 0
    assert os.getxattr(file, "user.site") == b"ours"


def test_a_file_that_cannot_be_used_is_not_touched(file: Path) -> None:
    file.write_text(site() + "[budget]\nmax_notes = 3\n")
    before = file.read_text()
    assert isinstance(run(file, "debug").exception, ConfigError)
    assert file.read_text() == before


def test_what_cannot_be_edited_is_refused_with_the_next_step(file: Path) -> None:
    file.write_text(site("log = { file = {} }\n"))
    error = run(file, "debug").exception
    assert isinstance(error, NotRewritten)
    assert "edit it by hand" in error.hint


def test_a_file_with_two_names_and_one_that_has_changed_are_left_alone(file: Path, tmp_path: Path) -> None:
    text = file.read_bytes()
    with pytest.raises(NotRewritten, match="somebody else has changed"):
        rewrite(file, b"what it was", b"what it should be")
    (tmp_path / "other").hardlink_to(file)
    with pytest.raises(NotRewritten, match="another name"):
        rewrite(file, text, b"")
    with pytest.raises(NotRewritten, match="no plain file"):
        rewrite(tmp_path, text, b"")
    assert (file.read_bytes(), sorted(one.name for one in tmp_path.iterdir())) == (text, ["headnode.toml", "other"])


SHOWN = """Id=sqswatcher.service
LoadState=loaded
ActiveState=active

Id=jobwatcher.service
LoadState=loaded
ActiveState=inactive

Id=nodewatcher.service
LoadState=loaded
ActiveState={nodewatcher}
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that shows what `shown` says, notes what it is asked in `asked`, and fails to reload where `broken` is."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "systemctl"
    program.write_text(
        '#!/bin/sh\ncd "${0%/*}"\n[ "$1" = show ] && exec cat shown\necho "$*" >> asked\n'
        "[ -e broken ] && { echo Interactive authentication required. >&2; exit 1; }\nexit 0\n"
    )
    program.chmod(0o755)
    (directory / "shown").write_text(SHOWN.format(nodewatcher="active"))
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setattr("daemons.cli.units.BOOTED", tmp_path)
    return directory


def test_the_services_that_run_are_told_and_the_others_left_alone(file: Path, systemctl: Path) -> None:
    page = told(file, "debug")
    assert (page["before"], page["level"], page["ok"]) == ("info", "debug", True)
    assert page["services"] == [{"service": "sqswatcher", "why_not": ""}, {"service": "nodewatcher", "why_not": ""}]
    assert (systemctl / "asked").read_text() == "reload sqswatcher.service\nreload nodewatcher.service\n"
    assert "nodewatcher: told to reload\n" in run(file, "info").stdout


def test_who_cannot_be_told_is_the_exit_code(file: Path, systemctl: Path) -> None:
    (systemctl / "broken").touch()
    done = run(file, "debug")
    assert done.exit_code == 1
    assert "sqswatcher: not told: Interactive authentication required.\n" in done.stdout
    assert tomllib.loads(file.read_text())["log"]["level"] == "debug", "the file is changed all the same"


def test_one_that_is_not_up_yet_is_not_signalled(file: Path, systemctl: Path) -> None:
    """Before it heeds signals one would end it."""
    (systemctl / "shown").write_text(SHOWN.format(nodewatcher="activating"))
    page = told(file, "debug", code=1)
    assert page["services"][1]["why_not"].startswith("it is not up yet")
    assert (systemctl / "asked").read_text() == "reload sqswatcher.service\n"


def test_where_systemd_runs_nothing_that_is_said(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("daemons.cli.units.BOOTED", tmp_path / "nowhere")
    assert "takes it by SIGHUP" in run(file, "debug").stdout


def test_a_stranger_level_is_refused_by_name(file: Path) -> None:
    done = run(file, "loud")
    assert (done.exit_code, stat.S_ISREG(file.stat().st_mode)) == (2, True)
    assert "loud" in done.output
