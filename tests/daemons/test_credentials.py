"""Files that systemd hands to a service, by name."""

from pathlib import Path

import pytest

from daemons.config import parse_config
from daemons.config.values import MqttConfig
from daemons.credentials import DIRECTORY, file_of, is_credential
from daemons.errors import ConfigError
from daemons.mqtt import read_password
from nodewatcher.agent.config import parse_agent_config
from schedulers.plugins import load_settings
from tests.daemons.test_process import CONFIG

NAMES = ["credential:mqtt", "credential:mqtt-key"]
NOT_NAMES = [
    "credential:",
    "credential:../shadow",
    "credential:.x",
    "credential:a/b",
    "credential:a b",
    "Credential:mqtt",
    "mqtt",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_credential_is_in_the_directory_of_this_process(name: str, tmp_path: Path) -> None:
    path = tmp_path / name.partition(":")[2]
    path.write_text("secret")
    assert file_of(name, {DIRECTORY: str(tmp_path)}) == path


@pytest.mark.parametrize("name", NOT_NAMES)
def test_no_other_word_is_one(name: str) -> None:
    assert not is_credential(name)


def test_a_path_is_itself_wherever_credentials_are() -> None:
    assert file_of("/etc/headnode/mqtt", {DIRECTORY: "/run/credentials/x"}) == Path("/etc/headnode/mqtt")


@pytest.mark.parametrize("directory", ["", "/nonexistent", "relative", "TMP"])
def test_one_that_was_not_handed_over_is_told_with_the_way_to_do_it(directory: str, tmp_path: Path) -> None:
    environ = {DIRECTORY: directory.replace("TMP", str(tmp_path))} if directory else {}
    with pytest.raises(ConfigError, match="credential:mqtt") as raised:
        file_of("credential:mqtt", environ)
    assert "LoadCredential=mqtt:" in raised.value.hint


def test_its_password_is_read_whatever_mode_systemd_gave_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mqtt").write_text("swordfish\n")
    (tmp_path / "mqtt").chmod(0o440)  # what stat shows of a file with an access list
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    assert read_password(MqttConfig(host="broker", username="head", password_file="credential:mqtt")) == "swordfish"


def test_both_configurations_take_one() -> None:
    mqtt = '[mqtt]\nhost = "broker"\nusername = "head"\npassword_file = "credential:mqtt"\n'
    config = parse_config(CONFIG.replace("FILE", "/x") + mqtt, load_settings=load_settings)
    assert config.mqtt is not None
    assert config.mqtt.password_file == "credential:mqtt"
    for wrong in NOT_NAMES:
        with pytest.raises(ConfigError, match="credential:NAME"):
            parse_config(CONFIG.replace("FILE", "/x") + mqtt.replace("credential:mqtt", wrong), load_settings=load_settings)
    agent = 'cluster = "hpc"\nregion = "eu-west-1"\nqueue = "hpc"\ntable = "hpc"\n' + mqtt
    found = parse_agent_config(agent)
    assert found.mqtt is not None
    assert found.mqtt.password_file == "credential:mqtt"
    with pytest.raises(ConfigError):
        parse_agent_config(agent.replace("credential:mqtt", "credential:../x"))
