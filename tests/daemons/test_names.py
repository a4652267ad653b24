from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.errors import InvalidValue
from daemons.names import (
    parse_address,
    parse_fleet_name,
    parse_hostname,
    parse_instance_id,
    parse_instance_type,
    parse_word,
)

PARSERS: list[Callable[[object], str]] = [
    parse_instance_id,
    parse_hostname,
    parse_instance_type,
    parse_fleet_name,
    parse_word,
    parse_address,
]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "-rf",
        "--help",
        "a b",
        "a\nb",
        "a;b",
        "$(id)",
        "../etc/passwd",
        "a/b",
        "a\0b",
        "ü",
        "a" * 300,
        None,
        7,
        ["a"],
        "a,b",
        "n[1-9]",
    ],
)
def test_nothing_hostile_becomes_a_name(parse: Callable[[object], str], hostile: object) -> None:
    with pytest.raises(InvalidValue):
        parse(hostile)


@given(st.text(max_size=80))
def test_whatever_passes_is_harmless_on_a_command_line(text: str) -> None:
    for parse in PARSERS:
        try:
            name = parse(text)
        except InvalidValue:
            continue
        assert not name.startswith("-")
        assert not set(name) & set(" \t\n\r\0/\\'\"$`;&|<>(){}[]*?~,=@!#%^+")


def test_a_host_name_is_its_first_label_in_lower_case() -> None:
    assert parse_hostname("IP-10-0-1-23.eu-west-1.compute.internal") == "ip-10-0-1-23"


def test_good_names_pass_as_they_are() -> None:
    assert parse_instance_id("i-0c9f3a52c7de10001") == "i-0c9f3a52c7de10001"
    assert parse_instance_type("u-6tb1.112xlarge") == "u-6tb1.112xlarge"
    assert parse_address("fd00::0001") == "fd00::1"
