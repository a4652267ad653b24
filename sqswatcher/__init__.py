import daemons  # noqa: F401  before structlog: it keeps rich out of the services
