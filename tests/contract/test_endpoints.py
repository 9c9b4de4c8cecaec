"""Answers of endpoints by the rules of Go's libraries, beyond the recorded cases."""

import json

import pytest
from pytest_aiohttp import AiohttpClient
from yarl import URL

from podkit.pod.netlink import read_addresses
from whoami.app import build_app

CONTENT = b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|"  # of /data?size=30&attachment=1
ATTACHMENT = URL("/data?size=30&attachment=1")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("env=t", True),
        ("env=TRUE", True),
        ("env=tRUE", False),
        ("env=+1", False),
        ("env", False),
        ("%65nv=1", True),
        ("env=%31", True),
        ("env=1;x", False),
        ("x=%zz&env=1", True),
        ("env=%zz&env=1", True),
        ("env=0&env=1", False),
        ("&&env=1&", True),
    ],
)
async def test_queries_are_read_as_go_reads_them(
    aiohttp_client: AiohttpClient, query: str, shown: bool
) -> None:
    """Pairs with a semicolon or a bad escape are dropped; the first value counts."""
    client = await aiohttp_client(build_app(environ=[b"SECRET=s3"]))
    answer = await client.get(URL(f"/?{query}", encoded=True))
    assert (b"SECRET=s3\n" in await answer.read()) is shown
    answer = await client.get(URL(f"/api?{query}", encoded=True))
    assert ("environ" in await answer.json()) is shown


@pytest.mark.parametrize(
    ("query", "length"),
    [
        ("size=513", 513),
        ("size=33281", 33281),
        ("size=0007", 7),
        ("size=1_000", 0),
        ("size=0x10", 0),
        ("size=+7", 0),
        ("size=9223372036854775807&unit=KB", 0),
        ("size=3&unit=mB", 3 << 20),
        ("size=5&unit=%20KB", 5),
    ],
)
async def test_sizes_are_read_as_go_reads_them(aiohttp_client: AiohttpClient, query: str, length: int) -> None:
    """Decimal, 64 bits with overflow; a bar at each end."""
    client = await aiohttp_client(build_app())
    answer = await client.get(URL(f"/data?{query}", encoded=True))
    body = await answer.read()
    assert len(body) == length
    assert not body or (body[:1], body[-1:]) == (b"|", b"|")


@pytest.mark.parametrize(
    ("target", "length"),
    [
        ("/data?size=1", None),
        ("/data?size=511", "511"),
        ("/data?size=512", None),
        ("/data?size=1&attachment=1", "0"),
        ("/data?size=9000&attachment=1", "8999"),
        ("/data?size=0&attachment=1", "18"),
        ("/data?size=8388608&unit=tb&attachment=1", "9223372036854775807"),  # one less than -2**63
        ("/health", None),
        ("/bench", "1"),
        ("/" + "x" * 3000, None),
    ],
)
async def test_head_is_told_the_lengths_that_the_original_knows(
    aiohttp_client: AiohttpClient, target: str, length: str | None
) -> None:
    """Lengths that an endpoint announces, and those of answers that fit into Go's buffers."""
    client = await aiohttp_client(build_app())
    answer = await client.head(target)
    assert answer.headers.get("Content-Length") == length


@pytest.mark.parametrize("wait", ["1h-1m", "1", "s", "1e3s", "-1h", "0", "", "5%C2%B5s", ".5ms", "1.ms"])
async def test_durations_that_are_none_or_short_do_not_hold_up(
    aiohttp_client: AiohttpClient, wait: str
) -> None:
    """Values that Go cannot parse are ignored."""
    client = await aiohttp_client(build_app())
    assert (await client.get(URL(f"/?wait={wait}", encoded=True))).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({"Range": "bytes=0-0"}, 206, b"|"),
        ({"Range": "bytes=-1000"}, 206, CONTENT),
        ({"Range": "bytes=5-2"}, 416, b"invalid range\n"),
        ({"Range": "bytes=0 - 1"}, 206, b"|A"),
        ({"Range": "bytes = 0-1"}, 416, b"invalid range\n"),
        ({"Range": "bytes=--1"}, 416, b"invalid range\n"),
        ({"Range": "bytes=0-99999999999999999999"}, 416, b"invalid range\n"),
        ({"Range": "bytes=99-"}, 416, b"invalid range: failed to overlap\n"),
        ({"Range": "bytes="}, 200, CONTENT),
        ({"Range": "bytes=0-2,-2"}, 200, CONTENT),
        ({"Range": "bytes=0-0,"}, 200, CONTENT),
        ({"Range": "bytes=2-1,x"}, 200, CONTENT),
        ({"Range": "bytes=0-1", "If-Range": "Mon, 02 Jan 2006 15:04:05 GMT"}, 200, CONTENT),
        ({"Range": "bytes=0-1", "If-Range": '"tag"'}, 200, CONTENT),
        ({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304, b""),
        ({"If-Modified-Since": "fri, 01 jan 2100 00:00:00 gmt"}, 200, CONTENT),
        ({"If-Modified-Since": "Mon, 02 Jan 2006 15:04:05 GMT"}, 200, CONTENT),
        ({"If-Unmodified-Since": "Mon, 02 Jan 2006 15:04:05 GMT"}, 412, b""),
        ({"If-Match": "*"}, 200, CONTENT),
        ({"If-Match": '"tag" W/"b",, *'}, 200, CONTENT),
        ({"If-Match": "tag, *"}, 412, b""),
        ({"If-Match": '"tag"'}, 412, b""),
        ({"If-None-Match": "*"}, 304, b""),
        ({"If-None-Match": '"tag"'}, 200, CONTENT),
    ],
)
async def test_attachments_take_conditions_and_ranges(
    aiohttp_client: AiohttpClient, headers: dict[str, str], status: int, body: bytes
) -> None:
    """As Go serves a file that was modified just now; several ranges are served whole."""
    client = await aiohttp_client(build_app())
    answer = await client.get(ATTACHMENT, headers=headers)
    assert (answer.status, await answer.read()) == (status, body)
    assert answer.headers["Content-Disposition"] == "Attachment"


async def test_other_methods_pass_over_if_range_and_end_in_412(aiohttp_client: AiohttpClient) -> None:
    """Go respects If-Range only for GET and HEAD."""
    client = await aiohttp_client(build_app())
    answer = await client.post(ATTACHMENT, headers={"Range": "bytes=0-1", "If-Range": '"x"'})
    assert (answer.status, await answer.read()) == (206, b"|A")
    assert (await client.post(ATTACHMENT, headers={"If-None-Match": "*"})).status == 412


async def test_conditions_come_before_the_size(aiohttp_client: AiohttpClient) -> None:
    """An attachment of size 0 is an error, unless a condition already decides the answer."""
    client = await aiohttp_client(build_app())
    target = URL("/data?size=0&attachment=1")
    assert (await client.get(target)).status == 500
    assert (await client.get(target, headers={"If-Match": '"x"'})).status == 412


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"null", "json: cannot unmarshal null into Go value of type int"),
        (b"[500]", "json: cannot unmarshal array into Go value of type int"),
        (b"  ", "EOF"),
        (b"\xef\xbb\xbf200", "invalid character '\\ufeff' looking for beginning of value"),
        (b"199", "health status 199 is not from 200 to 599"),
        (b"600", "health status 600 is not from 200 to 599"),
        (b"01", "health status 0 is not from 200 to 599"),
    ],
)
async def test_what_is_no_status_is_refused_and_the_old_one_stays(
    aiohttp_client: AiohttpClient, body: bytes, message: str
) -> None:
    """400 with the decoder's message."""
    client = await aiohttp_client(build_app())
    answer = await client.post("/health", data=body)
    assert (answer.status, await answer.text()) == (400, message + "\n")
    assert (await client.get("/health")).status == 200


@pytest.mark.parametrize(
    ("body", "status"), [(b"404 and more", 404), (b"500abc", 500), (b"599", 599), (b"200", 200)]
)
async def test_the_first_value_is_the_status(aiohttp_client: AiohttpClient, body: bytes, status: int) -> None:
    """Go's decoder reads one value and ignores the rest."""
    client = await aiohttp_client(build_app())
    assert (await client.post("/health", data=body)).status == 200
    assert (await client.get("/health")).status == status


async def test_a_status_needs_no_kilobyte(aiohttp_client: AiohttpClient) -> None:
    """413 above 1,024 bytes, and the old status stays."""
    client = await aiohttp_client(build_app())
    assert (await client.post("/health", data=b" " * 1021 + b"404")).status == 200
    assert (await client.post("/health", data=b" " * 1022 + b"500")).status == 413
    assert (await client.get("/health")).status == 404


async def test_the_addresses_are_the_kernels(aiohttp_client: AiohttpClient) -> None:
    """One line per address, in the kernel's order."""
    client = await aiohttp_client(build_app())
    lines = (await (await client.get("/")).text()).split("\n")
    assert [line[4:] for line in lines if line.startswith("IP: ")] == read_addresses()
    document = json.loads(await (await client.get("/api")).read())
    assert document["ip"] == read_addresses()
