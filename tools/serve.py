"""Serve the built website on a free port: ``make serve``."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
FIRST_PORT, LAST_PORT = 8000, 8099


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def server(folder: Path = SITE) -> ThreadingHTTPServer:
    """Open the first free port for the folder.

    Raises:
        OSError: none of the ports is free.
    """
    handler = partial(Quiet, directory=str(folder))
    for port in range(FIRST_PORT, LAST_PORT + 1):
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError:
            continue
    raise OSError(f"no free port from {FIRST_PORT} to {LAST_PORT}")


def main() -> int:
    """Serve until the user interrupts."""
    if not (SITE / "index.html").exists():
        print("There is no built website yet: run `make book` first.")
        return 1
    with server() as http:
        address = f"http://127.0.0.1:{http.server_port}/"
        print(f"The book is at {address} (Ctrl-C ends)", flush=True)
        try:
            http.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
