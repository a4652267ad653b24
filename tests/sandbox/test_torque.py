"""The emulated Torque says what a real one was recorded to say: the same elements in the same order, the same words."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sandbox.torque.cluster import FakeTorque

RECORDINGS = Path(__file__).parents[1] / "schedulers/torque/recordings"
YOUNG_S = 9.0


def recorded(name: str) -> str:
    return (RECORDINGS / name).read_text()


def entries(text: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text.strip()))  # noqa: S314  our own recordings, and what we print


def elements(text: str) -> dict[str, list[str]]:
    """The tags of each entry, by its first value."""
    return {entry[0].text or "": [child.tag for child in entry] for entry in entries(text)}


@pytest.fixture
def fake(tmp_path: Path) -> FakeTorque:
    """Nodes as in the recordings."""
    one = FakeTorque(directory=tmp_path / "torque", young_s=YOUNG_S)
    one.start()
    for directive in ("n1000 np=1000", "n0001,n0003,n0004,n0006 np=4", "n0002 np=4,gpus=2"):
        assert one.run("qmgr", "-c", f"create node {directive}").returncode == 0
    return one


def grown(fake: FakeTorque) -> None:
    fake.later(YOUNG_S + 1)
    fake.boot("n0001", "n0002", "n0003", "n0004")
    fake.run("pbsnodes", "-o", "n1000")


def nodes(fake: FakeTorque) -> str:
    return fake.run("pbsnodes", "-x").stdout


def states(text: str) -> dict[str, str]:
    return {entry.findtext("name", ""): entry.findtext("state", "") for entry in entries(text)}


def test_a_server_without_nodes_or_jobs(tmp_path: Path) -> None:
    empty = FakeTorque(directory=tmp_path / "torque")
    empty.start()
    answer = empty.run("pbsnodes", "-x")
    assert (answer.returncode, answer.stdout, answer.stderr.strip()) == (1, "", recorded("empty-pbsnodes_-x.err").strip())
    answer = empty.run("qstat", "-x")
    assert (answer.returncode, answer.stdout.strip().endswith("<Data></Data>")) == (0, True)
    assert recorded("empty-qstat_-x.out").strip().endswith("<Data></Data>")


def test_nodes_that_were_just_created(fake: FakeTorque) -> None:
    theirs = recorded("pbsnodes-x-just-created.out")
    ours = nodes(fake)
    for name in ("n1000", "n0001"):
        assert elements(ours)[name] == elements(theirs)[name]
        assert states(ours)[name] == states(theirs)[name] == "down,offline,MOM-list-not-sent"


def test_nodes_that_are_free_down_and_offline(fake: FakeTorque) -> None:
    grown(fake)
    theirs, names = recorded("pbsnodes-x-free-and-down.out"), ("n0001", "n0002", "n0003", "n0006")
    assert {name: states(nodes(fake))[name] for name in names} == {name: states(theirs)[name] for name in names}
    assert {name: elements(nodes(fake))[name] for name in names} == {name: elements(theirs)[name] for name in names}
    fake.run("pbsnodes", "-o", "-N", "locked by daemon", "n0003")
    fake.run("pbsnodes", "-o", "n0001", "n0006")
    theirs, names = recorded("pbsnodes-x-offline-and-down-offline.out"), ("n1000", "n0001", "n0003", "n0006")
    assert {name: states(nodes(fake))[name] for name in names} == {name: states(theirs)[name] for name in names}
    assert {name: elements(nodes(fake))[name] for name in names} == {name: elements(theirs)[name] for name in names}


def test_nodes_with_jobs(fake: FakeTorque) -> None:
    grown(fake)
    fake.submit("-l", "nodes=n0001:ppn=2+n0002:ppn=2")
    fake.submit("-l", "nodes=n0004:ppn=4")
    fake.submit("-l", "nodes=n0001:ppn=2")
    ours, theirs = nodes(fake), recorded("running-pbsnodes-x.out")
    for name in ("n0001", "n0002", "n0004", "n1000"):
        assert elements(ours)[name] == elements(theirs)[name]
        assert states(ours)[name] == states(theirs)[name]
    said = re.findall(r"<jobs>([^<]*)</jobs>", theirs)
    assert sorted(re.findall(r"<jobs>([^<]*)</jobs>", ours)) == sorted(said)


def test_a_queue_of_all_kinds(fake: FakeTorque) -> None:
    """What is not emulated is left out; what is there is in the recorded order, with the recorded words."""
    grown(fake)
    fake.run("qmgr", "-c", "set server resources_available.nodect = 10")
    held = fake.submit("-h", "-l", "nodes=1:ppn=2")
    kinds = {
        "3.tbhead": fake.submit("-l", "nodes=2:ppn=2+3:ppn=6"),
        "6.tbhead": fake.submit("-l", "procs=8"),
        "9.tbhead": fake.submit("-l", "nodes=2:ppn=2:bigmem"),
        "11[].tbhead": fake.submit("-t", "1-100%5", "-l", "nodes=1:ppn=4"),
        "13.tbhead": held,
        "14.tbhead": fake.submit("-W", f"depend=afterok:{held}", "-l", "nodes=1:ppn=4"),
        "15.tbhead": fake.submit("-a", "203001010000", "-l", "nodes=1"),
    }
    ours_text, theirs_text = fake.run("qstat", "-x").stdout, recorded("pending-qstat-x.out")
    theirs, ours = elements(theirs_text), elements(ours_text)
    for recorded_id, our_id in kinds.items():
        places = [theirs[recorded_id].index(tag) for tag in ours[our_id]]
        assert places == sorted(places), recorded_id
        for tag in ("job_state", "Hold_Types", "queue", "job_array_request", "Priority"):
            assert value(ours_text, our_id, tag) == value(theirs_text, recorded_id, tag), (recorded_id, tag)
        assert resources(ours_text, our_id) == resources(theirs_text, recorded_id)


def value(text: str, job: str, tag: str) -> str | None:
    return next(entry.findtext(tag) for entry in entries(text) if entry.findtext("Job_Id") == job)


def resources(text: str, job: str) -> dict[str, str | None]:
    entry = next(entry for entry in entries(text) if entry.findtext("Job_Id") == job)
    return {child.tag: child.text for child in entry.findall("Resource_List/*")}


@pytest.mark.parametrize(
    ("argv", "name", "code"),
    [
        (("qmgr", "-c", "create node n0001 np=4"), "create-node-duplicate.err", 2),
        (("qmgr", "-c", "create node nosuchhost np=4"), "create-node-unknown-host.err", 2),
        (("qmgr", "-c", "create node n0007 np=0"), "create-node-np0.err", 2),
        (("qmgr", "-c", "create node n0006,n0007 np=4"), "create-node-comma-list-partial-dup.err", 2),
        (("qmgr", "-c", "delete node n0999"), "delete-node-nonexistent.err", 2),
        (("pbsnodes", "-o", "n0999"), "pbsnodes-o-unknown.err", 0),
        (("pbsnodes", "-o", "n1000"), "pbsnodes-o-just-created.err", 0),
    ],
)
def test_refusals_in_the_recorded_words(fake: FakeTorque, argv: tuple[str, ...], name: str, code: int) -> None:
    with fake.changed() as state:
        state.unresolvable = ["nosuchhost"]
    answer = fake.run(*argv)
    assert answer.returncode == code
    assert " ".join(re.sub(r"n\d{4}", "N", answer.stderr).split()) == " ".join(re.sub(r"n\d{4}", "N", recorded(name)).split())


@pytest.mark.parametrize(("program", "code"), [("qstat", 111), ("pbsnodes", 1), ("qmgr", 3)])
def test_a_server_that_is_not_there(fake: FakeTorque, program: str, code: int) -> None:
    with fake.down():
        answer = fake.run(program, "-x") if program != "qmgr" else fake.run("qmgr", "-c", "list server")
    assert answer.returncode == code
    assert "Cannot connect to specified server host 'tbhead'." in answer.stderr
