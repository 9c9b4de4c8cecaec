"""The settings of both programs."""

import os
from dataclasses import dataclass

from podkit.go.duration import parse_duration
from podkit.process.cpus import count_cpus
from podkit.process.flags import flag, switch

_MOST_WORKERS = 256


def parse_port(text: str) -> int:
    """A TCP port; 0 picks a free one."""
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def parse_size(text: str) -> int:
    """A number of bytes."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(f"{text!r} is not a number of bytes: give one such as 16777216")
    return int(text)


def parse_seconds(text: str) -> float:
    """A non-negative duration such as ``10s``, in seconds."""
    duration = parse_duration(text)
    if duration < 0:
        raise ValueError(f"{text!r} is negative: give a duration such as 10s")
    return duration


def parse_timeout(text: str) -> float:
    """A positive duration, in seconds."""
    duration = parse_seconds(text)
    if not duration:
        raise ValueError(f"{text!r} is not positive: give a duration such as 75s")
    return duration


def parse_workers(text: str) -> int:
    """A number of processes; ``auto`` is one per available CPU."""
    if text == "auto":
        return count_cpus()
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= _MOST_WORKERS:
        raise ValueError(f"{text!r} is not a number of workers: give 1 to {_MOST_WORKERS}, or auto")
    return int(text)


def port_flag(default: str, variable: str = "") -> int:
    """The row of ``--port``."""
    return flag(default, parse_port, "N", "port to listen on, IPv4 and IPv6; 0 picks a free one", variable)


def workers_flag(variable: str = "") -> int:
    """The row of ``--workers``."""
    text = "worker processes that share the port; auto: one per available CPU"
    return flag("1", parse_workers, "N", text, variable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of both programs. A flag is its field's name with dashes. Times are in seconds."""

    port: int = port_flag("8080")
    workers: int = workers_flag()
    idle_timeout: float = flag(
        "75s", parse_timeout, "DURATION", "close connections that are idle for this long"
    )
    shutdown_delay: float = flag(
        "0s", parse_seconds, "DURATION", "after SIGTERM, keep accepting connections for this long"
    )
    grace_period: float = flag(
        "10s", parse_seconds, "DURATION", "then wait at most this long for requests in flight"
    )
    proxy_protocol: bool = switch(
        "require a PROXY header, v1 or v2, on every connection", "WHOAMI_PROXY_PROTOCOL"
    )
    cert: str = flag("", str, "FILE", "serve TLS with this certificate and its chain (PEM)")
    key: str = flag("", str, "FILE", "the certificate's private key (PEM, not encrypted)")
    cacert: str = flag("", str, "FILE", "require a client certificate from these authorities (PEM)")

    def __post_init__(self) -> None:
        """Raises ValueError if a flag is given without the one it needs."""
        for given, missing in (("key", "cert"), ("cacert", "cert"), ("cert", "key")):
            if getattr(self, given) and not getattr(self, missing):
                raise ValueError(f"--{given} needs --{missing}")


def read_environment() -> tuple[bytes, ...]:
    """The environment that the process was started with, in order. Python may have changed its own copy."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        entries = [name + b"=" + value for name, value in os.environb.items()]
    first = {entry.partition(b"=")[0]: entry for entry in reversed(entries) if b"=" in entry}
    return tuple(entry for entry in entries if first.get(entry.partition(b"=")[0]) is entry)
