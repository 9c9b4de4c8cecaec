"""Flags: one row each defines the parser, the help, the settings and the README's tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import whereami.cli
import whoami.cli
from podkit.limits import Limits
from podkit.process.flags import Flag, Usage, read_options, rows
from podkit.process.settings import Settings
from whoami.settings import PROGRAM
from whoami.settings import Settings as WhoamiSettings

GOLDEN = Path(__file__).parent / "golden"
README = (Path(__file__).parents[2] / "README.md").read_text()
MAINS = {"whoami": whoami.cli.main, "whereami": whereami.cli.main}
KINDS: dict[str, Any] = {"whoami": WhoamiSettings, "whereami": Settings}


def run(program: str, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Status and output of a program that exits by itself."""
    out, err = StringIO(), StringIO()
    status = MAINS[program](arguments, environ or {}, out, err)
    return status, out.getvalue(), err.getvalue()


def read(*arguments: str, **environ: str) -> WhoamiSettings:
    """The settings of whoami."""
    return read_options(PROGRAM, WhoamiSettings, arguments, environ)


def section(title: str) -> str:
    """The text of a section of the README."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("program", MAINS)
@pytest.mark.parametrize("flag", ["--help", "-help", "-h", "--help=true"])
def test_help_is_as_it_was(program: str, flag: str) -> None:
    """A golden file shows the effect of a changed flag to its author."""
    assert run(program, flag) == (0, (GOLDEN / f"{program}-help.txt").read_text(), "")


def test_help_needs_no_sound_environment() -> None:
    """A wrong variable is a reason to read the help."""
    assert run("whoami", "--help", environ={"WHOAMI_WORKERS": "many"})[0] == 0


def render_row(row: Flag) -> str:
    """A row in the README's format."""
    variable = f"`{row.variable}`" if row.variable else ""
    cells = [f"`--{row.name}`", variable, row.default if row.value else "off", row.help]
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


@pytest.mark.parametrize("program", MAINS)
def test_the_readme_has_the_flags(program: str) -> None:
    """Name, variable, default and help of each, in order."""
    lines = [line for line in section(program).splitlines() if line.startswith("| `--")]
    assert lines == [render_row(row) for row in rows(KINDS[program])]


LIMITS = {
    "request line and headers": "max_head",
    "header lines, including `Host`": "max_header_lines",
    "time to receive them, from the first byte": "head_timeout",
    "TLS handshake": "head_timeout",
    "time to receive a PROXY header": "head_timeout",
    "body to echo": "max_body",
    "body that the endpoint does not read": "max_skipped_body",
    "time without progress while receiving a body": "body_timeout",
    "idle time between requests": "idle_timeout",
    "time without progress while sending an answer": "send_timeout",
    "concurrent streams per HTTP/2 connection": "max_streams",
    "WebSocket message": "max_message",
    "WebSocket without a message or ping": "websocket_timeout",
    "gRPC message, decompressed": "max_call_message",
    "memory for buffered requests and answers": "budget",
    "memory for connections": "connections",
    "… per connection": "connection_cost",
    "… plus, with TLS": "tls_cost",
    "… plus, with HTTP/2": "http2_cost",
}


def render_limit(name: str) -> str:
    """A limit in the README's format."""
    value = getattr(Limits(), name)
    if isinstance(value, float):
        return f"{value:g} s"
    mega, kilo = value >> 20, value >> 10 & 1023
    if not mega and not kilo:
        return str(value)
    return " and ".join(f"{number} {unit}" for number, unit in ((mega, "MiB"), (kilo, "KiB")) if number)


def test_the_readme_has_the_limits() -> None:
    """The documented limits are the server's."""
    table = section("Common to both servers").split("### Limits")[1]
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines() if line[:2] == "| "]
    assert dict(cells[1:]) == {label: render_limit(name) for label, name in LIMITS.items()}


@pytest.mark.parametrize("program", KINDS)
def test_defaults(program: str) -> None:
    """Without flags, each setting has its row's parsed default."""
    kind = KINDS[program]
    settings = kind()
    for field, row in zip(dataclasses.fields(kind), rows(kind), strict=True):
        assert getattr(settings, field.name) == row.parse(row.default)


@pytest.mark.parametrize(
    "arguments",
    [("-name=a b",), ("--name", "a b"), ("-name", "a b"), ("--name=a b",), ("--name=x", "--name=a b")],
    ids=" ".join,
)
def test_flags_take_one_dash_or_two(arguments: Sequence[str]) -> None:
    """And an equals sign or a space; the last one wins."""
    assert read(*arguments).name == "a b"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((), False), (("-verbose",), True), (("--verbose=false",), False), (("--verbose=1",), True)],
)
def test_a_switch_needs_no_value(arguments: Sequence[str], expected: bool) -> None:
    """It may have one, after an equals sign."""
    assert read(*arguments).verbose is expected


def test_a_flag_beats_its_variable() -> None:
    """The variable overrides the default; an empty one counts as unset."""
    assert read("--port", "1", WHOAMI_PORT_NUMBER="2").port == 1
    assert read(WHOAMI_PORT_NUMBER="2", WHOAMI_NO_ENV="true").port == 2
    assert read(WHOAMI_PORT_NUMBER="").port == 80


def test_durations_are_gos() -> None:
    """In seconds."""
    settings = read("--idle-timeout=1m30s", "--shutdown-delay", "300ms", "-grace-period=0")
    assert (settings.idle_timeout, settings.shutdown_delay, settings.grace_period) == (90.0, 0.3, 0.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--port", "http"], "--port: 'http' is not a port: give a number from 0 to 65535"),
        (["--port", "70000"], "--port: '70000' is not a port: give a number from 0 to 65535"),
        (["--port=-1"], "--port: '-1' is not a port: give a number from 0 to 65535"),
        (["--port"], "--port needs a value"),
        (["--nonsense"], "unknown flag --nonsense"),
        (["---port=1"], "unknown flag ---port"),
        (["stray"], "unexpected argument 'stray'"),
        (["--verbose", "false"], "unexpected argument 'false'"),
        (["--", "stray"], "unexpected argument '--'"),
        (["--verbose=perhaps"], "--verbose: 'perhaps' is not a boolean: use true or false"),
        (["--grace-period", "soon"], "--grace-period: 'soon' is not a duration: write 300ms, 1.5s or 1m2s"),
        (["--shutdown-delay=-1s"], "--shutdown-delay: '-1s' is negative: give a duration such as 10s"),
        (["--idle-timeout=0"], "--idle-timeout: '0' is not positive: give a duration such as 75s"),
        (["--max-body", "1.5"], "--max-body: '1.5' is not a number of bytes: give one such as 16777216"),
        (["--workers", "0"], "--workers: '0' is not a number of workers: give 1 to 256, or auto"),
        (["--cert", "a.crt"], "--cert needs --key"),
        (["--key", "a.key"], "--key needs --cert"),
        (["--cacert", "ca.crt"], "--cacert needs --cert"),
    ],
)
def test_a_bad_command_line_gets_one_line(arguments: Sequence[str], text: str) -> None:
    """Status 2, and the line says what is wrong and where to look."""
    assert run("whoami", *arguments) == (2, "", f"whoami: {text} (see whoami --help)\n")


def test_a_bad_variable_gets_one_line() -> None:
    """The line names the variable; a health check that needs it reports it too."""
    problem = "'eighty' is not a port: give a number from 0 to 65535"
    for arguments in ([], ["healthcheck"]):
        status, out, err = run("whoami", *arguments, environ={"WHOAMI_PORT_NUMBER": "eighty"})
        assert (status, out) == (2, "")
        assert err == f"whoami: WHOAMI_PORT_NUMBER: {problem} (see whoami --help)\n"


@pytest.mark.parametrize("program", MAINS)
def test_a_health_check_reads_its_flags_like_the_servers(program: str) -> None:
    """Its help has status 0; a bad command line gets one line."""
    status, out, err = run(program, "healthcheck", "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: {program} healthcheck [--proxy-protocol] [URL]\n")
    command = f"{program} healthcheck"
    for arguments, text in ((["-x"], "unknown flag -x"), (["http://a", "b"], "unexpected argument 'b'")):
        assert run(program, "healthcheck", *arguments) == (2, "", f"{command}: {text} (see {command} --help)\n")


def test_settings_stay_as_they_are() -> None:
    """They are immutable."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        WhoamiSettings().port = 1  # type: ignore[misc]
    with pytest.raises(Usage):
        read("--version")
