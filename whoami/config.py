"""What an operator may set."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """The settings that endpoints read."""

    name: str = ""
    environ: tuple[bytes, ...] = ()  # ``NAME=value`` entries to show; empty where that is turned off
