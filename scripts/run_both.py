"""Start both servers, say what to curl, and end both with Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

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


def answers(port: str) -> bool:
    """Whether something answers on the port."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def main() -> int:
    """0 after Ctrl-C, 1 where a server did not start or ended by itself."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    programs = (("whoami", WHOAMI_PORT), ("whereami", WHEREAMI_PORT))
    servers: list[subprocess.Popen[bytes]] = []
    status = 1
    try:
        for program, port in programs:
            # a session of their own, so that Ctrl-C reaches them once, from here
            command = [sys.executable, "-m", program, "--port", port]
            servers.append(subprocess.Popen(command, start_new_session=True))
            while servers[-1].poll() is None and not answers(port):
                time.sleep(0.05)
            if servers[-1].poll() is not None:
                print("choose other ports with: make run WHOAMI_PORT=9080 WHEREAMI_PORT=9081", file=sys.stderr)
                return 1
        print(WELCOME, flush=True)
        while all(server.poll() is None for server in servers):
            time.sleep(0.2)
    except KeyboardInterrupt:
        status = 0
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
    return status


if __name__ == "__main__":
    sys.exit(main())
