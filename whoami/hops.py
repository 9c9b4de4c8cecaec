"""``/.hops``: the request's path from the client to this pod: what headers claim, and what is certain."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from podkit.message import PLAIN_TEXT, Client, Request, Response
from podkit.pod.pod import Pod
from whoami.api import JSON, render_json
from whoami.forwarding import Claim, find_contradictions, read_claims
from whoami.who import NO_STORE, describe_announced

_INTRODUCTION = "From the client to this pod. A claim is what a header says: any client can write one.\n\n"


class Hop(NamedTuple):
    """One line of output: the source, whether it is certain, and its facts."""

    source: str
    certain: bool
    facts: dict[str, Any]


def hops(pod: Pod, node: str, request: Request) -> Response:
    """A table for people; JSON if the client accepts it."""
    claims, problems = read_claims(request.head.headers)
    problems += find_contradictions(claims)
    found = [*_claimed(claims), *_known(pod, node, request)]
    if b"application/json" in request.head.header(b"Accept"):
        told = [{"source": hop.source, "certain": hop.certain, **hop.facts} for hop in found]
        return Response(headers=(JSON, *NO_STORE), body=render_json({"hops": told, "contradictions": problems}))
    return Response(headers=(PLAIN_TEXT, *NO_STORE), body=_render(found, problems).encode("utf-8", "replace"))


def _claimed(claims: list[Claim]) -> Iterator[Hop]:
    for claim in claims:
        source = f"{claim.header} {claim.number} of {claim.of}" if claim.of > 1 else claim.header
        yield Hop(source, False, claim.parts or {"value": claim.value})


def _known(pod: Pod, node: str, request: Request) -> Iterator[Hop]:
    client = request.client
    if client.announced is not None:
        # the sender is known, since it opened the connection; the address it announces is only its claim
        yield Hop("PROXY protocol", False, describe_announced(client.announced))
    yield Hop("connection", True, _describe_connection(request, client))
    yield Hop("pod", True, {"hostname": pod.hostname, "addresses": pod.addresses, "node": node})


def _describe_connection(request: Request, client: Client) -> dict[str, Any]:
    tls, version = client.tls, request.head.version
    return {
        "peer": client.peer,
        "protocol": f"HTTP/{version[0]}.{version[1]}",
        "tls": tls.version if tls is not None else "",
        "alpn": tls.alpn if tls is not None else "",
        "id": client.id,
        "request": request.number,
    }


def _render(found: list[Hop], problems: list[str]) -> str:
    width = max(len(hop.source) for hop in found)
    lines = [
        f"{'certain' if hop.certain else 'claimed'}  {hop.source:{width}}  {_render_facts(hop.facts)}\n"
        for hop in found
    ]
    warnings = [f"contradiction: {problem}\n" for problem in problems]
    return "".join([_INTRODUCTION, *lines, *["\n"] * bool(warnings), *warnings])


def _render_facts(facts: dict[str, Any]) -> str:
    return "  ".join(
        value if name == "value" else f"{name}={_render_value(value)}"
        for name, value in facts.items()
        if value not in ("", [])
    )


def _render_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "(" + " ".join(f"{name}={_render_value(each)}" for name, each in value.items() if each != "") + ")"
        )
    return ",".join(value) if isinstance(value, list) else str(value)
