"""Command lines: one dataclass row per flag defines the parser, the help and a frozen object.

Syntax is that of Go's ``flag`` package: one or two dashes, ``=`` or a space before a value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, fields
from typing import Any, NamedTuple, TypeVar

from podkit import __version__
from podkit.go.strconv import parse_bool

T = TypeVar("T")
Options = TypeVar("Options")


class Usage(Exception):
    """Exits the program with `status` (0 for --help and --version) after printing `text`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Program(NamedTuple):
    """The parts of --help besides the flags."""

    name: str
    usage: str  # what may follow the name, one form per line
    summary: str
    notes: str


class Flag(NamedTuple):
    """A row of the table: how a setting is given, and its help."""

    name: str
    default: str  # as on the command line
    parse: Callable[[str], Any]  # raises ValueError with a line for people
    value: str  # the value's placeholder in --help; empty for a switch
    help: str
    variable: str  # environment variable, or empty
    is_word: bool = False  # a positional argument


def flag(default: str, parse: Callable[[str], T], value: str, help: str, variable: str = "") -> T:
    """Declares a dataclass field and its flag. The flag is the field's name with dashes."""
    row = Flag("", default, parse, value, help, variable)
    return field(default=parse(default), metadata={"flag": row})


def switch(help: str, variable: str = "") -> bool:
    """Declares a boolean flag; ``=false`` turns it off."""
    return flag("false", parse_bool, "", help, variable)


def word(value: str, help: str) -> str:
    """Declares a positional argument, which may stand before, between or after the flags."""
    return field(default="", metadata={"flag": Flag("", "", str, value, help, "", is_word=True)})


def rows(kind: Any) -> list[Flag]:
    """The rows of a dataclass, in order."""
    return [each.metadata["flag"]._replace(name=each.name.replace("_", "-")) for each in fields(kind)]


def read_options(
    program: Program, kind: type[Options], arguments: Sequence[str], environ: Mapping[str, str]
) -> Options:
    """Reads options from a command line, else from the environment, else from the defaults.

    Raises Usage for an error, and for --help and --version.
    """
    flags = {row.name: row for row in rows(kind)}
    try:
        texts = dict(_split(program, flags, arguments))
        return kind(**{name.replace("-", "_"): value for name, value in _values(flags, texts, environ)})
    except ValueError as problem:
        raise Usage(2, f"{program.name}: {problem} (see {program.name} --help)") from None


def _split(program: Program, flags: Mapping[str, Flag], arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The name and text of each given flag."""
    rest = list(arguments)
    words = [row.name for row in flags.values() if row.is_word]
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word in ("-", "--"):
            if not words:
                raise ValueError(f"unexpected argument {word!r}")
            yield words.pop(0), word
            continue
        name, equals, text = word.removeprefix("-").removeprefix("-").partition("=")
        if name in ("h", "help"):
            raise Usage(0, render_help(program, flags.values()))
        if name == "version":
            raise Usage(0, f"{program.name} {__version__}")
        if name not in flags or flags[name].is_word:
            raise ValueError(f"unknown flag {word.partition('=')[0]}")
        if not equals and not flags[name].value:
            text = "true"
        elif not equals:
            if not rest:
                raise ValueError(f"--{name} needs a value")
            text = rest.pop(0)
        yield name, text


def _values(
    flags: Mapping[str, Flag], texts: Mapping[str, str], environ: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    """The value of each flag given on the command line or by its variable."""
    for name, row in flags.items():
        text, source = texts.get(name), f"--{name}"
        if text is None and row.variable:
            text, source = environ.get(row.variable) or None, row.variable
        if text is not None:
            try:
                yield name, row.parse(text)
            except ValueError as problem:
                raise ValueError(f"{source}: {problem}") from None


def render_help(program: Program, flags: Iterable[Flag]) -> str:
    """The text of --help."""
    table = [(_render_name(row), row.help + _render_origin(row)) for row in flags]
    table += [("--version", "print the version"), ("--help", "print this text")]
    width = max(len(name) for name, _ in table)
    usage = "\n       ".join(f"{program.name} {form}" for form in program.usage.splitlines())
    lines = [f"  {name:{width}}  {text}" for name, text in table]
    return "\n".join([f"usage: {usage}", "", program.summary, "", *lines, "", program.notes])


def _render_name(row: Flag) -> str:
    return row.value if row.is_word else f"--{row.name} {row.value}".rstrip()


def _render_origin(row: Flag) -> str:
    default = f"default {row.default}" if row.default and row.value else ""
    origin = ", ".join(filter(None, (row.variable, default)))
    return f" ({origin})" if origin else ""
