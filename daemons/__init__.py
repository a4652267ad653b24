"""What the three services share: values, ports, AWS, configuration, logs, the command line."""

import sys
from importlib import import_module

if "structlog" not in sys.modules:
    # structlog loads rich for its colourful tracebacks where it is installed, as it is for the command line: 4 MiB and 40 ms of
    # every service, for nothing. The command line gets it all the same when it asks.
    _seen = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's own way to say: not to be had
    try:
        import_module("structlog")
    finally:
        del sys.modules["rich"]
        if _seen is not None:
            sys.modules["rich"] = _seen
