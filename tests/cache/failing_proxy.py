"""An HTTP proxy in front of a server that loses, breaks or delays some of the answers."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["", "401", "403", "404", "429", "500", "503", "drop", "slow", "lost", "short"]
"""lost: the server does what is asked, and its answer never arrives; short: half of it does."""
SLOW_SECONDS = 0.1


@contextmanager
def failing_proxy(
    endpoint: str, fault_of: Callable[[int], Fault]
) -> Iterator[tuple[str, list[str]]]:
    """Forward to `endpoint`; (the proxy's own endpoint, the requests so far, which it appends).

    Args:
        endpoint: of the real server.
        fault_of: number of the request, from 0, to what happens to it.
    """
    target = urlsplit(endpoint)
    seen: list[str] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer goes out in two writes

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                seen.append(f"{self.command} {self.path}")
                fault = fault_of(len(seen) - 1)
            if fault == "drop":
                self.close_connection = True
                return
            if fault.isdecimal():
                self.send_response(int(fault))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault == "slow":
                time.sleep(SLOW_SECONDS)
            connection = HTTPConnection(target.hostname or "", target.port or 80, timeout=20)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            if fault == "lost":
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            if fault == "short":
                self.close_connection = True
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            with suppress(ConnectionError):  # the client has given up waiting
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if fault == "short" else content)

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    for verb in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{verb}", Handler.forward)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
