"""`headnode install` and `uninstall`, on the files of a machine that is a directory."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from daemons.cli import app
from daemons.errors import HeadnodeError
from daemons.install.files import Role, unit_names
from daemons.install.plan import MANIFEST
from tests.needs import skip_or_fail

ROOT = Path(__file__).parents[2]
HEAD = {f"{name}.service" for name in ("sqswatcher", "jobwatcher", "nodewatcher")} | {"headnode.target"}


def run(*words: str, code: int = 0) -> str:
    ran = CliRunner().invoke(app, list(words))
    if isinstance(ran.exception, HeadnodeError):
        raise ran.exception
    assert ran.exit_code == code, ran.output
    return ran.stdout


def install(prefix: Path, *words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        run("install", "--prefix", str(prefix), "--programs", "/opt/headnode/bin", "--json", *words)
    )
    return told


def uninstall(prefix: Path, *words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run("uninstall", "--prefix", str(prefix), "--json", *words))
    return told


def files(prefix: Path) -> dict[str, str]:
    return {str(path.relative_to(prefix)): path.read_text() for path in prefix.rglob("*") if path.is_file()}


def everything(prefix: Path) -> set[str]:
    return {str(path.relative_to(prefix)) for path in prefix.rglob("*")}


def test_a_head_gets_its_units_its_user_and_an_example(tmp_path: Path) -> None:
    install(tmp_path)
    laid = files(tmp_path)
    assert {f"etc/systemd/system/{name}" for name in HEAD} <= set(laid)
    assert laid["etc/headnode/headnode.toml.example"] == (ROOT / "systemd/headnode.toml.example").read_text()
    assert "u headnode" in laid["etc/sysusers.d/headnode.conf"]
    assert "/etc/headnode" in laid["etc/tmpfiles.d/headnode.conf"]
    assert not [path for path in laid if "agent" in path]
    assert "etc/headnode/headnode.toml" not in laid, "the operator's to write"


def test_a_compute_node_gets_the_agent_and_nothing_else(tmp_path: Path) -> None:
    install(tmp_path, "--role", "compute")
    assert set(files(tmp_path)) == {"etc/systemd/system/headnode-agent.service", "etc/headnode/agent.toml.example", MANIFEST}


def test_the_units_start_the_programs_of_this_installation(tmp_path: Path) -> None:
    install(tmp_path, "--programs", "/srv/venv/bin")
    for name in HEAD - {"headnode.target"}:
        text = files(tmp_path)[f"etc/systemd/system/{name}"]
        assert f"ExecStart=/srv/venv/bin/{name.removesuffix('.service')}\n" in text
        assert "/opt/headnode" not in text


@pytest.mark.parametrize("role", ["head", "compute"])
def test_once_more_is_nothing_to_do(role: str, tmp_path: Path) -> None:
    assert install(tmp_path, "--role", role)["changed"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = install(tmp_path, "--role", role)
    assert (again["changed"], again["steps"]) == (False, [])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    said = run("install", "--prefix", str(tmp_path), "--programs", "/opt/headnode/bin", "--role", role)
    assert said == "nothing to do\n"


def test_a_dry_run_tells_exactly_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    planned = install(tmp_path, "--dry-run")
    assert everything(tmp_path) == set()
    assert planned["dry_run"]
    done = install(tmp_path)
    assert planned["steps"] == done["steps"]
    assert {step["path"] for step in done["steps"]} | {MANIFEST} == everything(tmp_path)
    removal = uninstall(tmp_path, "--dry-run")
    assert MANIFEST in files(tmp_path)
    assert removal["steps"] == uninstall(tmp_path)["steps"]


def test_uninstall_leaves_a_machine_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/other.service").write_text("[Service]\n")
    before = everything(tmp_path)
    install(tmp_path)
    install(tmp_path, "--role", "compute")
    uninstall(tmp_path)
    assert everything(tmp_path) == before
    assert not uninstall(tmp_path)["changed"]


def test_what_the_operator_wrote_outlives_both(tmp_path: Path) -> None:
    install(tmp_path)
    written = {
        "etc/headnode/headnode.toml": 'cluster = "hpc"\n',
        "etc/systemd/system/sqswatcher.service": "[Service]\nExecStart=/usr/local/bin/mine\n",
        "var/lib/headnode/jobwatcher/memory.json": "{}",
    }
    for path, text in written.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    told = install(tmp_path, "--programs", "/elsewhere/bin")
    assert [(step["action"], step["path"]) for step in told["steps"] if step["action"] != "replace"] == [
        ("leave", "etc/systemd/system/sqswatcher.service")
    ]
    removal = uninstall(tmp_path)
    assert [step["path"] for step in removal["steps"] if step["action"] == "leave"] == ["etc/systemd/system/sqswatcher.service"]
    assert files(tmp_path) == written


def test_a_file_that_was_there_before_is_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    theirs = tmp_path / "etc/headnode/headnode.toml.example"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    told = install(tmp_path)
    assert [step["path"] for step in told["steps"] if step["action"] == "leave"] == ["etc/headnode/headnode.toml.example"]
    uninstall(tmp_path)
    assert everything(tmp_path) == {"etc", "etc/headnode", "etc/headnode/headnode.toml.example"}


def test_purge_takes_configuration_and_state_too_and_nothing_else(tmp_path: Path) -> None:
    install(tmp_path)
    for path in (
        "etc/headnode/headnode.toml",
        "var/lib/headnode/jobwatcher/memory.json",
        "var/log/headnode/a",
        "var/lib/other/b",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    uninstall(tmp_path, "--purge")
    assert files(tmp_path) == {"var/lib/other/b": "x"}


def test_another_version_replaces_what_the_earlier_one_laid_down(tmp_path: Path) -> None:
    install(tmp_path, "--programs", "/opt/old/bin")
    told = install(tmp_path, "--programs", "/opt/new/bin")
    assert {step["action"] for step in told["steps"]} == {"replace"}
    assert "/opt/new/bin/" in files(tmp_path)["etc/systemd/system/nodewatcher.service"]
    uninstall(tmp_path)
    assert everything(tmp_path) == set()


def test_what_could_not_be_finished_is_finished_by_trying_again(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/tmpfiles.d").write_text("in the way")
    with pytest.raises(HeadnodeError, match=r"tmpfiles\.d"):
        install(tmp_path)
    (tmp_path / "etc/tmpfiles.d").unlink()
    install(tmp_path)
    uninstall(tmp_path)
    assert everything(tmp_path) == {"etc"}


def test_a_link_that_leads_out_of_the_prefix_is_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "etc").symlink_to(outside)
    with pytest.raises(HeadnodeError, match="leads out of"):
        install(inside)
    assert everything(outside) == set()


@pytest.mark.parametrize("manifest", ["", "[]", '{"version": 1, "files": {"../x": "0"}, "directories": []}', '{"version": 2}'])
def test_a_manifest_that_is_not_ours_removes_nothing(manifest: str, tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / MANIFEST).write_text(manifest)
    before = files(tmp_path)
    with pytest.raises(HeadnodeError):
        uninstall(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("programs", ["/home/me/bin", "/root/.venv/bin", "relative/bin", "/opt/head node/bin", "/opt/%h/bin"])
def test_programs_that_the_units_could_not_start_are_refused(programs: str, tmp_path: Path) -> None:
    with pytest.raises(HeadnodeError):
        install(tmp_path, "--programs", programs)
    assert everything(tmp_path) == set()


def test_a_prefix_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadnodeError, match="no directory"):
        install(tmp_path / "nowhere")


@pytest.mark.parametrize("role", list(Role))
def test_systemd_finds_nothing_to_say_about_what_was_laid_down(role: Role, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("units cannot be judged: systemd-analyze is not installed")
    install(tmp_path, "--role", role)
    units = tmp_path / "etc/systemd/system"
    for name in ("sqswatcher", "jobwatcher", "nodewatcher", "headnode-agent"):  # the image's programs, and its /bin/kill
        program(tmp_path / "opt/headnode/bin" / name)
    program(tmp_path / "bin/kill")
    for target in ("sysinit", "basic", "multi-user", "network-online", "shutdown"):
        (units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    argv = ["systemd-analyze", "verify", f"--root={tmp_path}", *(f"/etc/systemd/system/{name}" for name in unit_names(role))]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    (tmp_path / "opt/headnode/bin" / ("sqswatcher" if role is Role.HEAD else "headnode-agent")).unlink()
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    assert "/opt/headnode/bin/" in ran.stderr, "a program that is not there would be told"


def program(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
