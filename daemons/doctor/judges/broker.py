"""The MQTT broker."""

from daemons.config.values import MqttConfig
from daemons.doctor.findings import Finding, Severity, judged

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_reached(config: MqttConfig, *, error: str) -> Finding:
    """`error` is what came instead of a connection, "" for one."""
    return judged(
        "broker-connection",
        f"{config.host}:{config.port}",
        error or f"it lets {config.username or 'us'} in",
        holds=not error,
        remedy="see whether mosquitto runs there and that mqtt.host, mqtt.port and mqtt.username are right; make the user's"
        f" password anew: headnode mqtt user {config.username or 'headnode'} --passwords … --password-file …",
    )


def check_words(config: MqttConfig, topic: str, *, heard: bool) -> Finding:
    """Brokers drop what somebody may not say or hear without a word."""
    return judged(
        "broker-acl",
        f"{topic} as {config.username or 'nobody'}",
        "what we say comes back" if heard else "what we say does not come back: we may not say it, or not hear it",
        holds=heard,
        remedy="headnode mqtt render --directory /etc/mosquitto/conf.d, and reload mosquitto",
    )


def check_encryption(config: MqttConfig) -> Finding:
    return judged(
        "broker-encryption",
        f"{config.host}:{config.port}",
        "encrypted" if config.tls else "not encrypted",
        holds=config.tls or config.host in _LOOPBACK,
        otherwise=Severity.WARNING,
        remedy="set mqtt.tls = true (and mqtt.ca_file, if the broker's certificate is signed by an authority of your own)",
    )


def check_password_file(config: MqttConfig, *, error: str, hint: str) -> Finding:
    return judged(
        "broker-password-file", config.password_file, error or "its owner alone may read it", holds=not error, remedy=hint
    )
