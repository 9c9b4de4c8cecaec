"""What an operator can set in both programs."""

import os
from dataclasses import dataclass

from podkit.go.duration import parse_duration
from podkit.process.cpus import count_cpus
from podkit.process.flags import flag, switch

_MOST_WORKERS = 256


def parse_port(text: str) -> int:
    """A TCP port; 0 takes any that is free."""
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def parse_size(text: str) -> int:
    """A number of bytes."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(f"{text!r} is not a number of bytes")
    return int(text)


def parse_seconds(text: str) -> float:
    """A duration that is not negative, such as ``10s``, in seconds."""
    duration = parse_duration(text)
    if duration < 0:
        raise ValueError(f"{text!r} is negative: give a duration such as 10s")
    return duration


def parse_timeout(text: str) -> float:
    """A duration of more than nothing, in seconds."""
    duration = parse_seconds(text)
    if not duration:
        raise ValueError(f"{text!r} leaves no time: give a duration such as 75s")
    return duration


def parse_workers(text: str) -> int:
    """A number of processes; ``auto`` is one for each CPU that may be used."""
    if text == "auto":
        return count_cpus()
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= _MOST_WORKERS:
        raise ValueError(f"{text!r} is not a number of workers: give 1 to {_MOST_WORKERS}, or auto")
    return int(text)


def port_flag(default: str, variable: str = "") -> int:
    """The row of ``--port``."""
    return flag(default, parse_port, "N", "port to listen on, for IPv4 and IPv6; 0 takes a free one", variable)


def workers_flag(variable: str = "") -> int:
    """The row of ``--workers``."""
    text = "processes that share the port; auto: one for each CPU it may use"
    return flag("1", parse_workers, "N", text, variable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can set in both programs; a field's name with dashes is its flag's. Times in seconds."""

    port: int = port_flag("8080")
    workers: int = workers_flag()
    idle_timeout: float = flag(
        "75s", parse_timeout, "DURATION", "close connections that are idle for this long"
    )
    shutdown_delay: float = flag(
        "0s", parse_seconds, "DURATION", "after SIGTERM, keep accepting connections for this long"
    )
    grace_period: float = flag(
        "10s", parse_seconds, "DURATION", "then finish requests in flight for at most this long"
    )
    proxy_protocol: bool = switch(
        "serve only connections that begin with a PROXY header, v1 or v2", "WHOAMI_PROXY_PROTOCOL"
    )
    cert: str = flag("", str, "FILE", "serve TLS with this certificate, followed by its chain, in PEM")
    key: str = flag("", str, "FILE", "the certificate's private key, in PEM, not encrypted")
    cacert: str = flag("", str, "FILE", "refuse clients without a certificate of these authorities, in PEM")

    def __post_init__(self) -> None:
        """Raises ValueError for a flag that lacks its companion."""
        for given, missing in (("key", "cert"), ("cacert", "cert"), ("cert", "key")):
            if getattr(self, given) and not getattr(self, missing):
                raise ValueError(f"--{given} needs --{missing}")


def read_environment() -> tuple[bytes, ...]:
    """The process's environment as it was started with, in order: Python may have added to its own copy."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        entries = [name + b"=" + value for name, value in os.environb.items()]
    first = {entry.partition(b"=")[0]: entry for entry in reversed(entries) if b"=" in entry}
    return tuple(entry for entry in entries if first.get(entry.partition(b"=")[0]) is entry)
