"""The settings of whoami."""

from dataclasses import dataclass

from podkit.process.flags import Program, flag, switch
from podkit.process.settings import Settings as CommonSettings
from podkit.process.settings import parse_size, port_flag, workers_flag

PROGRAM = Program(
    "whoami",
    "[flags]\nhealthcheck [--proxy-protocol] [URL]\ndns [flags] NAME\nwatch [flags] URL",
    "Answer every request with the host name, the addresses and the request as received.",
    """\
Flags take one or two dashes, and a space or = before the value. A flag overrides its environment variable.
whoami healthcheck exits with 0 if the server at URL is healthy, else with 1. By default it asks /health on
port 80, or on the port in WHOAMI_PORT_NUMBER.
whoami dns shows which addresses a name has, and which one this client uses (whoami dns --help).
whoami watch sends requests and shows which pod answers each (whoami watch --help).""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(CommonSettings):
    """One field for each flag."""

    port: int = port_flag("80", "WHOAMI_PORT_NUMBER")
    workers: int = workers_flag("WHOAMI_WORKERS")
    name: str = flag("", str, "S", "name to show first in the answer", "WHOAMI_NAME")
    verbose: bool = switch("log each request with its status and duration")
    no_env: bool = switch("never show the environment to clients", "WHOAMI_NO_ENV")
    plain: bool = switch("disable the paths that begin with a dot", "WHOAMI_PLAIN")
    max_body: int = flag(
        "16777216", parse_size, "BYTES", "largest body to echo; larger ones get 413", "WHOAMI_MAX_BODY"
    )
