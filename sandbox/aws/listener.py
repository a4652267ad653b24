"""HTTP/1.1 on 127.0.0.1 with connections that stay open, which werkzeug's own server does not offer."""

import logging
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sandbox.aws.wire import Answer

_log = logging.getLogger(__name__)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ConnectionCut(Exception):
    """Raised instead of an answer: the connection ends without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, read in full. Header names are lower case; `target` is the path with its query, undecoded."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536  # one packet for headers and body
    server: "Listener"

    def _serve(self) -> None:
        try:
            size = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            size = 0
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(method=self.command, target=self.path, headers=headers, body=self.rfile.read(size))
        try:
            answer = self.server.answer(request)
        except ConnectionCut:
            self._cut()
            return
        except Exception:  # noqa: BLE001 - a failure of the sandbox is an answer too: HTTP 500
            _log.exception("the sandbox failed to answer %s %s", self.command, self.path)
            answer = Answer(status=500, body=b"the sandbox failed", headers=(("Content-Type", "text/plain"),))
        self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = _serve  # noqa: N815 - http.server's names

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        _log.debug(format, *args)


class Listener(ThreadingHTTPServer):
    """Hands each request to `answer`, in a thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer: Callable[[Request], Answer], *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="sandbox-http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Begin to serve; connections made since construction are not lost."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and end the open connections, so that no client talks to a sandbox that is gone."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._open_lock:
            for connection in self._open:
                _shut(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().close_request(request)

    def shutdown_request(self, request: Any) -> None:
        # a polite shutdown would turn a cut connection's reset into an orderly end
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("connection %s from %s ended badly", request, client_address, exc_info=True)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        _log.debug("a connection had ended already")
