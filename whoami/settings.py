"""What an operator can set in whoami."""

from dataclasses import dataclass

from podkit.process.flags import Program, flag, switch
from podkit.process.settings import Settings as CommonSettings
from podkit.process.settings import parse_size, port_flag, workers_flag

PROGRAM = Program(
    "whoami",
    "[flags]\nhealthcheck [--proxy-protocol] [URL]\ndns [flags] NAME\nwatch [flags] URL",
    "Answer with the host name, the addresses and the request as it arrived.",
    """\
Flags take one dash or two, and = or a space before their value. A flag overrides its environment variable.
whoami healthcheck exits with 0 if the server at URL is healthy, else with 1; by default it asks /health on
port 80, or on the port that WHOAMI_PORT_NUMBER names.
whoami dns tells which addresses a name has, and which of them this client takes (whoami dns --help).
whoami watch asks again and again, and tells which pod answers (whoami watch --help).""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(CommonSettings):
    """One field for each flag."""

    port: int = port_flag("80", "WHOAMI_PORT_NUMBER")
    workers: int = workers_flag("WHOAMI_WORKERS")
    name: str = flag("", str, "S", "a name to show first", "WHOAMI_NAME")
    verbose: bool = switch("log each request with its status and duration")
    no_env: bool = switch("never show the environment, whatever a client asks", "WHOAMI_NO_ENV")
    plain: bool = switch("leave out the paths that begin with a dot", "WHOAMI_PLAIN")
    max_body: int = flag(
        "16777216", parse_size, "BYTES", "largest body to echo; a larger one gets 413", "WHOAMI_MAX_BODY"
    )
