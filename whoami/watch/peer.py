"""Finds out who answered, from the replies of several servers. Their text is untrusted."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

LIMIT: Final = 64 << 10  # bytes read of an answer
_LONGEST: Final = 63  # characters kept of a name, from its end, where pod names differ
_HOSTNAME: Final = re.compile(rb"^Hostname: ?(\S+)", re.MULTILINE)
_KUBIA: Final = re.compile(rb"^You've hit (\S+)(?: on this node: (\S+))?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Peer:
    """The pod that answered and its node; empty if the answer does not name them."""

    pod: str = ""
    node: str = ""


def clean_name(text: str) -> str:
    """Makes a name safe for a terminal: visible ASCII, with ``?`` for the rest."""
    return "".join(char if "!" <= char <= "~" else "?" for char in text[-_LONGEST:])


def clean_text(text: str) -> str:
    """One line for people, from a text of a peer or a library."""
    return "".join(char if char.isprintable() else " " for char in text[:200]).strip()


def read_peer(body: bytes) -> Peer:
    """The peer that a body names.

    It may be JSON with ``pod``, ``pod_name`` or ``hostname``; or contain a line ``Hostname: NAME``, as in
    whoami's answers; or a line ``You've hit NAME on this node: NODE``, as in kubia's.
    """
    if body.lstrip()[:1] == b"{":
        try:
            return _read_json(json.loads(body))
        except (ValueError, RecursionError):
            return Peer()
    if found := _HOSTNAME.search(body):
        return Peer(_decode(found[1]))
    if found := _KUBIA.search(body):
        node = _decode(found[2] or b"")
        return Peer(_decode(found[1]), "" if node == "undefined" else node)
    return Peer()


def _read_json(value: dict[str, Any]) -> Peer:
    def first(*keys: str) -> str:
        texts = (value.get(key) for key in keys)
        return clean_name(next((text for text in texts if isinstance(text, str) and text), ""))

    return Peer(first("pod", "pod_name", "hostname"), first("node", "node_name"))


def _decode(name: bytes) -> str:
    return clean_name(name.decode("utf-8", "replace"))


def shorten(names: Collection[str]) -> dict[str, str]:
    """The short form of each name: its last five characters, or all of it if it is short or ambiguous."""
    short = {name: name if len(name) <= 8 else name[-5:] for name in names}
    shown = list(short.values())
    return {name: name if shown.count(text) > 1 else text for name, text in short.items()}
