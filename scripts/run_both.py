"""Starts both servers, prints example commands, and stops both on Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

WHOAMI_PORT = os.environ.get("WHOAMI_PORT", "8080")
WHEREAMI_PORT = os.environ.get("WHEREAMI_PORT", "8081")

WELCOME = f"""
Both servers run. Try, in another terminal:

  curl localhost:{WHOAMI_PORT}                 who answers, and your request as it arrived
  curl localhost:{WHOAMI_PORT}/api             the same as JSON
  curl -X POST -d 503 localhost:{WHOAMI_PORT}/health ; curl -i localhost:{WHOAMI_PORT}/health
  curl 'localhost:{WHOAMI_PORT}/data?size=1&unit=MB' | wc -c
  curl localhost:{WHEREAMI_PORT}                 the kubia server

Ctrl-C ends both.
"""


def start(program: str, port: str) -> subprocess.Popen[str]:
    """Starts a server and forwards its output; returns when it listens or has exited."""
    # its own session, so that it gets Ctrl-C only once, from here
    command = [sys.executable, "-m", program, "--port", port]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    said = threading.Event()

    def relay() -> None:
        assert server.stderr is not None
        for line in server.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            if "listening on" in line:
                said.set()
        said.set()

    threading.Thread(target=relay, daemon=True).start()
    said.wait()
    return server


@contextmanager
def foreground() -> Iterator[None]:
    """Makes the terminal send Ctrl-C to this script only: make, which started it, would report an error."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        before = os.tcgetpgrp(terminal)
    except OSError:  # no terminal
        yield
        return
    if before == os.getpgrp() != os.getpid():
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # sent to a background process that takes the terminal
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # make would not notice that we stop
        os.setpgid(0, 0)
        os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        with suppress(OSError):  # the terminal may be closed
            os.tcsetpgrp(terminal, before)
        os.close(terminal)


def end(servers: list[subprocess.Popen[str]]) -> None:
    """Lets the servers finish their requests; a second Ctrl-C kills them."""
    try:
        for server in servers:
            server.terminate()
        while any(server.poll() is None for server in servers):
            time.sleep(0.1)  # not wait(): a signal just before it would not interrupt it
    except KeyboardInterrupt:
        for server in servers:
            server.kill()


def main() -> int:
    """Runs both; returns 0 after Ctrl-C, 1 if a server did not start or exited by itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell may have set them to be ignored
        signal.signal(number, signal.default_int_handler)
    servers: list[subprocess.Popen[str]] = []
    try:
        for program, port in (("whoami", WHOAMI_PORT), ("whereami", WHEREAMI_PORT)):
            servers.append(start(program, port))
            with suppress(subprocess.TimeoutExpired):
                servers[-1].wait(0.1)  # a server that could not listen exits now
                print("choose other ports with: make run WHOAMI_PORT=9080 WHEREAMI_PORT=9081", file=sys.stderr)
                return 1
        print(WELCOME, flush=True)
        while all(server.poll() is None for server in servers):
            time.sleep(0.2)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        end(servers)


if __name__ == "__main__":
    with foreground():
        status = main()
    sys.exit(status)
