"""Builds the sdist, and from it the wheel; installs that into a new environment, and runs both programs."""

import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str | Path) -> str:
    """A command's output; CalledProcessError if it fails."""
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, cwd="/")
    return done.stdout.strip()


def first_answer(program: Path) -> str:
    """Starts a server on a free port and returns its first answer."""
    with subprocess.Popen([str(program), "--port", "0"], stderr=subprocess.PIPE, text=True, cwd="/") as server:
        assert server.stderr is not None
        found = re.search(r"listening on http://\S*:(\d+)", server.stderr.readline())
        assert found, f"{program} did not start"
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=5) as answer:
            text: str = answer.read().decode()
        server.terminate()
    assert server.returncode == 0, f"{program} ended with {server.returncode}"
    return text.splitlines()[0]


def main() -> None:
    """Prints each program's answer; fails if one does not run."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place, ROOT)
        with tarfile.open(next(place.glob("*.tar.gz"))) as sdist:
            top = {name.split("/")[1] for name in sdist.getnames()}
        assert not top & {"docs", "k8s", "tests"}, f"the sdist holds {top}"
        wheel = next(place.glob("*.whl"))
        venv.create(place / "venv", with_pip=True)
        pip = [place / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "--require-hashes", "-r", ROOT / "requirements/server.txt")
        run(*pip, "--no-deps", wheel)
        for name in ("whoami", "whereami"):
            program = place / "venv/bin" / name
            print(f"{wheel.name}: {run(program, '--version')}: {first_answer(program)}")


if __name__ == "__main__":
    main()
