"""Command lines as Go's ``flag`` package reads them: one dash or two, ``=`` or a space."""

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import IO, Any, NoReturn

from podkit import __version__
from podkit.go.duration import parse_duration
from podkit.go.strconv import parse_bool
from podkit.process.workers import count_cpus

_MOST_WORKERS = 256


class Usage(Exception):
    """The program ends here: with `status` (0 for --help and --version), after showing `text`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Flags(argparse.ArgumentParser):
    """A parser that raises Usage instead of ending the process."""

    def __init__(self, program: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=program,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._switches: set[str] = set()
        self.switch("help", False, "show this text")
        self.switch("version", False, "show the version")

    def value(self, name: str, default: Any, kind: Any, metavar: str, text: str) -> None:
        """A flag with a value; `kind` makes it from the text, or raises ValueError with a line for people."""
        self.add_argument(f"--{name}", default=default, type=_checked(kind), metavar=metavar, help=text)

    def switch(self, name: str, default: bool, text: str) -> None:
        """A flag that is on where it is given, unless it says ``=false``."""
        self._switches.add(name)
        options: dict[str, Any] = {"nargs": "?", "const": True, "metavar": "BOOL"}
        self.add_argument(f"--{name}", default=default, type=_checked(parse_bool), help=text, **options)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The values of a command line. Raises Usage for a bad one, and for --help and --version."""
        words, rest = [], list(arguments)
        while rest:
            word = rest.pop(0)
            if not word.startswith("-") or word in ("-", "--"):
                raise self._usage_error(f"unexpected argument {word!r}")
            name, equals, value = word.lstrip("-").partition("=")
            if not equals and name == "h":
                name = "help"
            if not equals and name not in self._switches:
                if not rest and f"--{name}" in self._option_string_actions:
                    raise self._usage_error(f"--{name} needs a value")
                value = rest.pop(0) if rest else ""
                equals = "="
            if f"--{name}" not in self._option_string_actions:
                raise self._usage_error(f"unknown flag {word.partition('=')[0]}")
            words.append(f"--{name}{equals}{value}")
        options = self.parse_args(words)
        if options.help:
            raise Usage(0, self.format_help().rstrip("\n"))
        if options.version:
            raise Usage(0, f"{self.prog} {__version__}")
        return options

    def error(self, message: str) -> NoReturn:
        """A value that does not fit."""
        raise self._usage_error(message.removeprefix("argument "))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """argparse's own way out, which it takes for nothing here."""
        raise Usage(status, message or "")

    def print_help(self, file: Any = None) -> None:
        """Not used: --help is ours."""

    def _usage_error(self, text: str) -> Usage:
        return Usage(2, f"{self.prog}: {text} (see {self.prog} --help)")


def _checked(kind: Any) -> Any:
    def convert(text: str) -> Any:
        try:
            return kind(text)
        except ValueError as problem:
            raise argparse.ArgumentTypeError(str(problem)) from None

    return convert


def port(text: str) -> int:
    """A TCP port; 0 takes any that is free."""
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def size(text: str) -> int:
    """A number of bytes."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(f"{text!r} is not a number of bytes")
    return int(text)


def seconds(text: str) -> float:
    """A duration that is not negative, such as ``10s``, in seconds."""
    duration = parse_duration(text)
    if duration < 0:
        raise ValueError(f"{text!r} is negative: a duration such as 10s is asked for")
    return duration


def workers(text: str) -> int:
    """A number of processes; ``auto`` is one for each CPU that may be used."""
    if text == "auto":
        return count_cpus()
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= _MOST_WORKERS:
        raise ValueError(f"{text!r} is not a number of workers: give 1 to {_MOST_WORKERS}, or auto")
    return int(text)


def add_tls_flags(flags: Flags) -> None:
    """The flags ``--cert``, ``--key`` and ``--cacert``."""
    flags.value("cert", "", str, "FILE", "serve TLS with this certificate (PEM, followed by its chain)")
    flags.value("key", "", str, "FILE", "the certificate's private key (PEM, not encrypted)")
    flags.value("cacert", "", str, "FILE", "refuse clients without a certificate of these authorities (PEM)")


def check_tls_flags(program: str, options: argparse.Namespace) -> None:
    """Raises Usage for a flag that lacks its companion."""
    for given, missing in (("key", "cert"), ("cacert", "cert"), ("cert", "key")):
        if getattr(options, given) and not getattr(options, missing):
            raise Usage(2, f"{program}: --{given} needs --{missing} (see {program} --help)")


def from_environment(environ: Mapping[str, str], name: str, kind: Any, default: Any) -> Any:
    """The value of a variable, or `default` where it is missing or empty. Raises Usage for a bad one."""
    text = environ.get(name, "")
    if not text:
        return default
    try:
        return kind(text)
    except ValueError as problem:
        raise Usage(2, f"{name}: {problem}") from None


def read_environment() -> tuple[bytes, ...]:
    """The process's environment as it was started with, in order: Python may have added to its own copy."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        entries = [name + b"=" + value for name, value in os.environb.items()]
    first = {entry.partition(b"=")[0]: entry for entry in reversed(entries) if b"=" in entry}
    return tuple(entry for entry in entries if first.get(entry.partition(b"=")[0]) is entry)


def show(stream: IO[str], text: str) -> None:
    """Print a text for people."""
    print(text, file=stream, flush=True)
