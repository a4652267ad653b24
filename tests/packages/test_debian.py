"""The Debian package: judged by lintian, installed on a Debian of its own, and purged without a trace."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import skip_or_fail

ROOT = Path(__file__).parents[2]
SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
TIMEOUT_S = 600

# This machine's /usr with a layer above it that vanishes, and the packages that ours depends on as installed.
LAY_OUT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {root}
cd {root}
mkdir -p usr .upper .work etc run tmp proc dev var/lib/dpkg/info var/lib/dpkg/updates root
for name in bin lib lib32 lib64 sbin; do if [ -e /usr/$name ]; then ln -s usr/$name $name; fi; done
mount -t overlay overlay -o lowerdir=/usr,upperdir={root}/.upper,workdir={root}/.work usr
rm -f usr/sbin/policy-rc.d
mount -t proc proc proc
for name in null zero full random urandom; do touch dev/$name; mount --bind /dev/$name dev/$name; done
printf 'root:x:0:0::/root:/bin/sh\\n' >etc/passwd
printf 'root:x:0:\\n' >etc/group
cp {status} var/lib/dpkg/status
touch var/lib/dpkg/available
cp {package} tmp/headnode.deb
cp {script} tmp/script
exec chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive sh /tmp/script
"""
# Of what is new: files, and directories of ours. Copying a file up makes directories in the layer above /usr.
SNAPSHOT = "find /.upper /etc /opt /var /run -not -path '/var/l*/dpkg*' \\( -not -type d -o -name '*headnode*' \\) | sort"
ACCOUNTS = {"/etc/.pwd.lock", *(f"/etc/{name}{old}" for name in ("passwd", "group", "shadow", "gshadow") for old in ("", "-"))}
STEPS = {
    "before": SNAPSHOT,
    "install": "dpkg -i /tmp/headnode.deb 2>&1",
    "files": "dpkg -L headnode",
    "verify": "dpkg -V headnode 2>&1",
    "version": "headnode --version",
    "services": " && ".join(f"/opt/headnode/bin/{name} --help" for name in (*SERVICES, "headnode-agent")),
    "check": "headnode config check --config /usr/share/doc/headnode/examples/headnode.toml",
    "units": "cd /lib/systemd/system && cat headnode.target sqswatcher.service",
    "user": "getent passwd headnode",
    "directories": "stat -c '%n %U %G %a' /etc/headnode",
    "again": "touch /etc/headnode/headnode.toml; dpkg -i /tmp/headnode.deb 2>&1",
    "remove": "dpkg -r headnode 2>&1",
    "kept": "ls /etc/headnode; test ! -e /opt/headnode && echo gone",
    "purge": "mkdir -p /var/lib/headnode/jobwatcher; dpkg -P headnode 2>&1",
    "after": SNAPSHOT,
    "nobody": "! getent passwd headnode",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("dpkg-deb") is None:
        skip_or_fail("a Debian package cannot be built: dpkg-deb is not installed")
    target = tmp_path_factory.mktemp("deb")
    argv = [sys.executable, str(ROOT / "debian/build.py"), str(target)]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stderr
    return Path(ran.stdout.strip())


@pytest.fixture(scope="module")
def steps(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """The exit code and the words of each step of a package's life, in a Debian of its own."""
    if os.geteuid() != 0:
        skip_or_fail("a package cannot be installed on a root of its own: not root")
    if not Path("/usr/bin", PYTHON).exists():
        skip_or_fail(f"this Debian has no {PYTHON} of its own, which the package depends on")
    if "overlay" not in Path("/proc/filesystems").read_text():
        skip_or_fail("a package cannot be installed on a root of its own: this kernel has no overlay file system")
    work = tmp_path_factory.mktemp("root")
    (work / "root").mkdir()
    status = subprocess.run(["dpkg-query", "-s", PYTHON, "libc6", "init-system-helpers"], check=True, capture_output=True)
    (work / "status").write_bytes(status.stdout)
    script = "".join(f"echo '=== {name}'; (\n{step}\n); echo \"=== $?\"\n" for name, step in STEPS.items())
    (work / "script").write_text(script)
    paths = {"root": work / "root", "status": work / "status", "script": work / "script", "package": package}
    lay_out = LAY_OUT.format(**{name: shlex.quote(str(path)) for name, path in paths.items()})
    argv = ["unshare", "-m", "-p", "-f", "-n", "--kill-child", "sh", "-c", lay_out]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return told(ran.stdout)


def told(text: str) -> dict[str, tuple[int, str]]:
    parts = text.split("=== ")[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {words.partition("\n")[0]: (int(code), words.partition("\n")[2].strip()) for words, code in pairs}


def test_lintian_finds_no_error(package: Path) -> None:
    if shutil.which("lintian") is None:
        skip_or_fail("the package cannot be judged: lintian is not installed")
    argv = ["lintian", "--allow-root", "--fail-on", "error", "--tag-display-limit", "0", str(package)]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "unused-override" not in ran.stdout


def test_every_step_of_its_life_goes_well(steps: dict[str, tuple[int, str]]) -> None:
    assert list(steps) == list(STEPS)
    assert {name: words for name, (code, words) in steps.items() if code != 0} == {}
    assert steps["verify"][1] == ""


def test_it_brings_the_commands_the_units_and_the_example(steps: dict[str, tuple[int, str]]) -> None:
    assert steps["version"][1].startswith("headnode ")
    assert steps["services"][1].count("--config") >= 4
    assert steps["check"][1].startswith("OK ")
    assert "ExecStart=/opt/headnode/bin/sqswatcher" in steps["units"][1]
    files = steps["files"][1].splitlines()
    assert {f"/lib/systemd/system/{name}.service" for name in (*SERVICES, "headnode-agent")} <= set(files)
    assert {"/usr/share/doc/headnode/copyright", "/usr/lib/sysusers.d/headnode.conf", "/usr/bin/headnode"} <= set(files)
    assert "/usr/share/man/man1/headnode.1.gz" in files
    assert not [name for name in files if name.endswith(".pyc") or "/tests/" in name.partition("site-packages/headnode")[2]]


def test_the_services_have_a_user_and_the_configuration_is_theirs_to_read(steps: dict[str, tuple[int, str]]) -> None:
    assert steps["user"][1].split(":")[5] == "/var/lib/headnode"
    assert steps["directories"][1] == "/etc/headnode root headnode 750"


def test_the_configuration_outlives_an_upgrade_and_a_removal(steps: dict[str, tuple[int, str]]) -> None:
    assert steps["kept"][1].split() == ["headnode.toml", "gone"]


def test_a_purge_leaves_nothing(steps: dict[str, tuple[int, str]]) -> None:
    before, after = (set(steps[name][1].splitlines()) for name in ("before", "after"))
    assert after - before - ACCOUNTS == set()
    assert before - after == set()
    assert "/opt/headnode/pyvenv.cfg" not in after
