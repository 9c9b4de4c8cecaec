"""docs/what-proxies-do.md, verified with real proxies: the output of /.raw behind them."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.test_proxies import PROXIES, ask
from tests.server import Server

PAGE = (Path(__file__).parents[2] / "docs" / "what-proxies-do.md").read_text()
SENT = (
    b"POST /lab/.raw?b=2&a=%7e&a HTTP/1.1\r\n"
    b"hOsT: Whoami.Example\r\n"
    b"x-zebra:no space\r\n"
    b"X-Apple: \t two  spaces inside, and behind \t\r\n"
    b"X-APPLE: again\r\n"
    b"x_under_score: 1\r\n"
    b"X-Empty:\r\n"
    b"X-Forwarded-For: 203.0.113.7\r\n"
    b"X-Real-Ip: 203.0.113.7\r\n"
    b"Forwarded: for=203.0.113.7\r\n"
    b"Accept:*/*\r\n"
    b"te: trailers\r\n"
    b"X-Hop: 1\r\n"
    b"CONNECTION: close, x-hop\r\n"
    b"Transfer-Encoding: chunked\r\n"
    b"\r\n"
    b'0003;note="a"\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n'
)
Pairs = list[tuple[str, str]]


def show(data: bytes) -> str:
    """Bytes as on the page: one line each, with visible tabs and trailing spaces."""
    lines = data.decode().replace(socket.gethostname(), "proxy-1").replace("\t", "\\t").split("\r\n")
    return "\n".join(line[:-1] + "\\x20" if line.endswith(" ") else line for line in lines).rstrip("\n")


def split(data: bytes) -> tuple[str, Pairs, bytes]:
    """Request line, headers with every space, and the rest."""
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    return line, [(name, value) for name, _, value in (field.partition(":") for field in fields)], rest


def values(fields: Pairs, name: str) -> list[str]:
    """The values of a header, in any case, stripped."""
    return [value.strip() for key, value in fields if key.lower() == name]


def name_case(names: Sequence[str], sent: Sequence[str]) -> str:
    """How the names changed."""
    if all(name == name.lower() for name in names):
        return "lower"
    kept = [name for name in names if name in sent]
    if [name for name in names if name.lower() in ("x-zebra", "x-apple")] == ["x-zebra", "X-Apple", "X-APPLE"]:
        return "kept, but for Host"
    return "canonical (X-Zebra)" if "X-Zebra" in names else f"mixed {kept}"


def order(fields: Pairs, sent: Pairs) -> str:
    """How the order changed."""
    before = list(dict.fromkeys(name.lower() for name, _ in sent))
    after = list(dict.fromkeys(name.lower() for name, _ in fields if name.lower() in before))
    if after == [name for name in before if name in after]:
        return "kept"
    body = [name for name in after if name not in ("host", "transfer-encoding")]
    return "sorted by name" if body == sorted(body) else "changed"


def fate(fields: Pairs, sent: Pairs, name: str) -> str:
    """How a header changed."""
    before, after = values(sent, name), values(fields, name)
    if not after:
        return "dropped"
    if after == before:
        return "passed on"
    if after[: len(before)] == before:
        return f"passed on, and another line with {', '.join(after[len(before) :])}"
    return f"replaced by {', '.join(after)}"


def describe(got: bytes) -> list[tuple[str, str]]:
    """How a proxy changed the request, by aspect."""
    sent_line, sent, _ = split(SENT)
    line, fields, rest = split(got)
    names = [name for name, _ in fields]
    known = {name.lower() for name, _ in sent}
    apple = next(value for name, value in fields if name.lower() == "x-apple")
    added = [name for name in names if name.lower() not in known]
    return [
        ("request line", "kept" if line == sent_line else line),
        ("case of names", name_case([name for name in names if name.lower() in known], [n for n, _ in sent])),
        ("order", order(fields, sent)),
        ("spaces and tabs around values", "cut" if apple == apple.rstrip() else "tabs stay"),
        ("a name sent twice", "two lines" if len(values(fields, "x-apple")) == 2 else "one line"),
        ("`x_under_score`", fate(fields, sent, "x_under_score")),
        ("`X-Empty`", fate(fields, sent, "x-empty")),
        ("`Connection`", fate(fields, sent, "connection")),
        ("`X-Hop`, which `Connection` names", fate(fields, sent, "x-hop")),
        ("`TE`", fate(fields, sent, "te")),
        ("the client's `X-Forwarded-For`", fate(fields, sent, "x-forwarded-for")),
        ("the client's `X-Real-Ip`", fate(fields, sent, "x-real-ip")),
        ("the client's `Forwarded`", fate(fields, sent, "forwarded")),
        ("chunks", "written anew" if b"\r\n0\r\n" in rest else "a body with its length"),
        ("chunk extension", "passed on" if b"note" in rest else "dropped"),
        ("trailer", "passed on" if b"trailer: t" in rest.lower() else "dropped"),
        ("headers that are added", ", ".join(f"`{name}`" for name in added) or "none"),
    ]


def test_nothing_happens_to_it_without_a_proxy(whoami: Server) -> None:
    """/.raw returns what was sent, and the page shows that."""
    assert whoami.ask(SENT).body == SENT
    assert f"```http\n{show(SENT)}\n```" in PAGE


@pytest.mark.parametrize("name", PROXIES)
def test_the_page_shows_what_a_proxy_makes_of_it(whoami: Server, name: str) -> None:
    """Byte for byte."""
    with PROXIES[name](whoami.port) as proxy:
        block = f"```http\n{show(ask(proxy, SENT).body)}\n```"
    assert f"### {name}\n\n{block}\n" in PAGE, f"the page should have:\n{block}"


def test_the_page_has_the_table(whoami: Server) -> None:
    """For all proxies and aspects."""
    columns = []
    for build in PROXIES.values():
        with build(whoami.port) as proxy:
            columns.append(describe(ask(proxy, SENT).body))
    rows = [
        f"| {cells[0][0]} | {' | '.join(cell for _, cell in cells)} |" for cells in zip(*columns, strict=True)
    ]
    table = "\n".join([f"| | {' | '.join(PROXIES)} |", "|---|---|---|---|", *rows])
    assert table in PAGE, f"the page should have:\n{table}"
