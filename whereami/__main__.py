"""``python -m whereami``."""

from whereami.cli import run_console

if __name__ == "__main__":
    run_console()
