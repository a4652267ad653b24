"""The one configuration file: what it may say (`values`), how it is read (`parse`, `load`), what is in effect (`effective`)."""

from daemons.config.load import DEFAULT_PATH, ENVIRONMENT, config_path, load_config, read_file
from daemons.config.parse import LoadSettings, Reading, parse_config, read_config
from daemons.config.problems import Problem
from daemons.config.values import (
    CloudwatchConfig,
    Config,
    DnsConfig,
    HaConfig,
    JobwatcherConfig,
    LogConfig,
    NodewatcherConfig,
    SchedulerConfig,
    SqswatcherConfig,
)

__all__ = [
    "DEFAULT_PATH",
    "ENVIRONMENT",
    "CloudwatchConfig",
    "Config",
    "DnsConfig",
    "HaConfig",
    "JobwatcherConfig",
    "LoadSettings",
    "LogConfig",
    "NodewatcherConfig",
    "Problem",
    "Reading",
    "SchedulerConfig",
    "SqswatcherConfig",
    "config_path",
    "load_config",
    "parse_config",
    "read_config",
    "read_file",
]
