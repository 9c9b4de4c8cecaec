"""``python -m whoami``."""

from whoami.cli import run_console

if __name__ == "__main__":
    run_console()
