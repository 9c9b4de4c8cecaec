"""Measures an image's startup time and memory: `bench_image.py IMAGE:TAG:PORT...`.

It prints three figures, the median of several containers each: the time from `docker run` to the first answer
through the published port, which is mostly the engine's; the time from the program's exec to that answer; and
the memory of the process afterwards. It watches /proc, so it must run on the engine's machine.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "7"))
PATIENCE = 30.0  # seconds
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def docker(*arguments: str) -> str:
    """A docker command's output; CalledProcessError if it fails."""
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def processes() -> set[str]:
    """The ids of all processes."""
    return {name for name in os.listdir("/proc") if name.isdigit()}


def is_program(process: str, program: str) -> bool:
    """Whether a process has become the program."""
    try:
        return Path("/proc", process, "comm").read_text() == f"{program}\n"
    except OSError:  # it has exited
        return False


def answers(port: int) -> bool:
    """Whether the server answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(REQUEST)
            return client.recv(15) == b"HTTP/1.1 200 OK"
    except OSError:
        return False


def resident(process: str) -> float:
    """The resident memory of a process, including shared pages, in MB."""
    status = Path("/proc", process, "status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def measure(image: str, port: int) -> tuple[float, float, float]:
    """Milliseconds from docker run, and from the process's start, to the first answer; MB when idle."""
    program = Path(docker("inspect", "--format", "{{index .Config.Entrypoint 0}}", image)).name
    published = free_port()
    container = f"bench-image-{published}"
    before = processes()
    begin = time.monotonic()
    options = [f"--name={container}", f"--publish=127.0.0.1:{published}:{port}"]
    with subprocess.Popen(["docker", "run", "--detach", *options, image], stdout=subprocess.DEVNULL) as run:
        try:
            found: list[str] = []
            while not found:
                found = [process for process in processes() - before if is_program(process, program)]
                if time.monotonic() - begin > PATIENCE or run.poll():
                    raise TimeoutError("it does not start, or not on this machine")
            start = time.monotonic()
            while not answers(published):
                if time.monotonic() - start > PATIENCE:
                    raise TimeoutError(f"it does not answer on port {port}")
                time.sleep(0.001)
            end = time.monotonic()
            time.sleep(0.5)  # idle
            pid = str(json.loads(docker("inspect", "--format", "{{.State.Pid}}", container)))
            return (end - begin) * 1000, (end - start) * 1000, resident(pid)
        finally:
            docker("rm", "--force", container)


def main(subjects: list[str]) -> int:
    """Prints a table; returns 1 if an image does not run."""
    print(f"{'':<12}{'docker run':>16}{'process start':>16}{'resident':>12}   (median of {ROUNDS})")
    for subject in subjects:
        image, _, port = subject.rpartition(":")
        try:
            rounds = [measure(image, int(port)) for _ in range(ROUNDS)]
        except (OSError, subprocess.CalledProcessError) as problem:
            reason = problem if isinstance(problem, OSError) else "docker does not have it"
            print(f"{image}: {reason} (make image builds it)", file=sys.stderr)
            return 1
        run, process, memory = (statistics.median(figures) for figures in zip(*rounds, strict=True))
        name = image.rpartition("/")[2].partition(":")[0]
        print(f"{name:<12}{run:>13.0f} ms{process:>13.0f} ms{memory:>9.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
