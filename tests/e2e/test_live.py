"""The page behind ``/.live``, in a browser: its numbers match the servers'."""

import asyncio
import base64
import gzip
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from tests.browser import Page, browser
from tests.certificates import issue
from tests.proxies import Proxy, balancer, nginx, pod, traefik
from tests.server import PATIENCE, Server, free_port
from whoami.app import build_app

PROGRAM = "whoami"
ONE, TWO, THREE = "whoami-5b7d-4wzkx", "whoami-5b7d-n8jtd", "whoami-5b7d-p7c2f"
STREAM = "document.querySelector('#stream th')?.textContent"

browsing = [pytest.mark.slow, pytest.mark.needs("chromium", "namespaces")]


@contextmanager
def pods(*names: str) -> Iterator[list[Server]]:
    """A pod for each of these names, with a log of its requests."""
    with ExitStack() as stack:
        yield [stack.enter_context(pod(PROGRAM, name, "--verbose")) for name in names]


async def watch(page: Page, url: str) -> None:
    """Opens the page, and sets the highest rate."""
    await page.open(url)
    await page.evaluate("document.querySelector('#rate').value = 20")


def says(beginning: str) -> str:
    """A condition: the sentence begins with a text."""
    return f"document.querySelector('#says').textContent.startsWith({json.dumps(beginning)})"


async def rows(page: Page) -> dict[str, int]:
    """The number of answers that the page shows for each pod."""
    found = await page.evaluate(
        "[...document.querySelectorAll('#pods tr')]"
        ".map(row => [row.dataset.pod, row.querySelector('.number').textContent])"
    )
    return {name: int(count) for name, count in found}


def served(*servers: Server) -> list[int]:
    """The number of ``/.who`` requests that each server has logged."""
    return [sum("/.who" in line for line in server.err) for server in servers]


async def stop_and_compare(page: Page, servers: dict[str, Server]) -> dict[str, int]:
    """Pauses, checks that the page counted what each pod served, and returns those numbers."""
    await page.press(" ")
    await page.until("!running && !asking")
    deadline = time.monotonic() + PATIENCE
    while True:
        shown, counted = await rows(page), dict(zip(servers, served(*servers.values()), strict=True))
        if shown == counted:
            return shown
        assert time.monotonic() < deadline, f"the page shows {shown}, the servers counted {counted}"
        await asyncio.sleep(0.05)


async def lost(page: Page) -> str:
    """The page's text about lost requests."""
    return str(await page.evaluate("document.querySelector('#lost').textContent"))


def test_the_page_as_it_is_sent(whoami: Server) -> None:
    """At most 14 kB, self-contained, and allowed only its own script and style."""
    packed = whoami.get("/some/prefix/.live", "Accept-Encoding: br, gzip")
    assert (packed.status, packed.header("Content-Encoding"), packed.header("Vary")) == (
        200,
        "gzip",
        "Accept-Encoding",
    )
    assert len(packed.body) < 14 * 1024
    answer = whoami.get("/.live", "Accept-Encoding: gzip;q=0")
    assert answer.header("Content-Encoding") is None
    assert gzip.decompress(packed.body) == answer.body
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    page = answer.body.decode()
    assert re.findall(r"\bsrc=|\burl\(|@import|\bhref=\S+", page) == ['href="data:,">']
    assert not re.findall(
        r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b| on\w+=| style=", page
    )
    policy = answer.header("Content-Security-Policy") or ""
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


class TestInABrowser:
    """What an audience sees."""

    pytestmark = browsing

    async def test_a_service(self) -> None:
        """One connection has one pod; with new connections both answer; the sentence says why."""
        with pods(ONE, TWO) as (one, two), balancer([one.port, two.port]) as service:
            async with browser() as page:
                await watch(page, f"{service.url}/whoareyou/.live")
                await page.until(says("One connection, one pod: "))
                assert await page.evaluate("!document.querySelector('#notice').hidden")  # the peer is 127.0.0.1
                await page.press("c")
                await page.until(says("A service picks a pod for each connection: "))
                await page.until("document.querySelectorAll('#strip .changed').length > 20")
                assert await page.evaluate("document.querySelector('#notice').hidden")
                shown = await stop_and_compare(page, {ONE: one, TWO: two})
                assert min(shown.values()) > 5
                assert await lost(page) == "0 lost"
                assert not page.problems

    async def test_nginx(self) -> None:
        """An HTTP proxy spreads the requests of one HTTP/2 connection; both hops are shown."""
        with pods(ONE, TWO) as (one, two), nginx([one.port, two.port], tls=issue("127.0.0.1")) as proxy:
            async with browser() as page:
                await watch(page, f"{proxy.url}/.live")
                await page.until(
                    says("An HTTP proxy is in between: it spreads the requests of one connection over 2 pods.")
                )
                await page.until("document.querySelector('#near').textContent === 'h2, was open'")
                assert await page.evaluate(
                    "document.querySelector('#far').textContent.startsWith('HTTP/1.1, connection ')"
                )
                assert await page.evaluate("!document.querySelector('#between').hidden")
                shown = await stop_and_compare(page, {ONE: one, TWO: two})
                assert abs(shown[ONE] - shown[TWO]) <= 5
                assert await lost(page) == "0 lost"

    async def test_traefik_and_its_cookie(self) -> None:
        """Under a prefix, over HTTP/2: without cookies requests move, with them one pod answers all."""
        tls = issue("127.0.0.1")
        with (
            pods(ONE, TWO) as (one, two),
            traefik([one.port, two.port], tls=tls, sticky="pod", prefix="/whoareyou") as proxy,
        ):
            async with browser() as page:
                await watch(page, f"{proxy.url}/whoareyou/.live")
                await page.until(
                    says("An HTTP proxy is in between: it spreads the requests of one connection over 2 pods.")
                )
                await page.press("k")
                await page.until(says("One pod answers all: sticky (a cookie?), or only one is ready. "))
                await page.until("document.querySelectorAll('#strip li').length === 120")
                before = await rows(page)
                await page.until(f"answers > {sum(before.values()) + 20}")
                after = await stop_and_compare(page, {ONE: one, TWO: two})
                assert sorted(after[name] == before[name] for name in after) == [False, True]
                assert await lost(page) == "0 lost"

    @pytest.mark.parametrize("start", [nginx, traefik])
    async def test_a_pod_is_replaced(self, start: Callable[..., AbstractContextManager[Proxy]]) -> None:
        """The new one joins, the old one stops being ready, and every request is answered or lost."""
        port = free_port()
        with (
            pods(TWO) as (two,),
            pod(PROGRAM, ONE, "--verbose", port=port) as one,
            start([port, two.port]) as front,
        ):
            async with browser() as page:
                await watch(page, f"{front.url}/.live")
                await page.until("document.querySelectorAll('#pods tr').length === 2 && answers > 10")
                one.stop()
                with pod(PROGRAM, THREE, "--verbose", port=port) as three:
                    await page.until("document.querySelectorAll('#pods tr').length === 3")
                    await page.until(f"document.querySelector('[data-pod={ONE}]').className === 'quiet'")
                    state = await page.evaluate(
                        f"document.querySelector('[data-pod={ONE}] .state').textContent"
                    )
                    assert re.fullmatch(r"gone|silent for \d+ s", state)
                    shown = await rows(page)
                    order = {name: {ONE: one, TWO: two, THREE: three}[name] for name in shown}
                    shown = await stop_and_compare(page, order)
                    told = await lost(page)
                    total = await page.evaluate("answers")
                    assert total == sum(shown.values())
                    assert re.fullmatch(
                        r"0 lost|\d+ lost: \d+ (with status 50\d|without an answer)(, .*)?", told
                    ), told

    async def test_one_long_stream(self) -> None:
        """It stays with its pod while requests move, and reconnects when that pod leaves."""
        with pods(ONE, TWO) as (one, two), balancer([one.port, two.port]) as service:
            async with browser() as page:
                await watch(page, f"{service.url}/.live")
                await page.press("c")
                await page.until(f"{STREAM} && answers > 40")
                name = await page.evaluate(STREAM)
                counts = await rows(page)
                assert min(counts.values()) > 5
                stays, goes = (two, one) if name == ONE else (one, two)
                service.ports = [stays.port]
                goes.stop()
                await page.until(f"{STREAM} !== {json.dumps(name)}")
                await page.until(f"document.querySelector('[data-pod={name}] .state').textContent === 'gone'")
                await page.press("s")
                await page.until(f"{STREAM} === undefined")

    async def test_an_answer_read_after_its_pod_said_goodbye(self) -> None:
        """The pod is gone, although the answer says that it was ready."""
        who = json.dumps({"hostname": ONE, "started": "2026-01-01T00:00:00Z", "state": "ready"})
        heard, seen = asyncio.Event(), set[str]()

        @web.middleware
        async def leave(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path == "/.live":
                return await handler(request)
            if request.path in seen:
                raise web.HTTPServiceUnavailable
            seen.add(request.path)
            if request.path == "/.events":
                return web.Response(text=f"event: leaving\ndata: {who}\n\n", content_type="text/event-stream")
            await heard.wait()
            return web.Response(text=who)

        app = build_app()
        app.middlewares.append(leave)
        async with TestServer(app) as pod, browser() as page:
            await watch(page, str(pod.make_url("/.live")))
            await page.until(f"pods.get({json.dumps(ONE)})?.said === 'leaving'")
            heard.set()
            await page.until("document.querySelector('#pods .number')?.textContent === '1'")
            await page.until("document.querySelector('#pods .state').textContent === 'gone'")

    async def test_what_a_pod_says_of_itself(self) -> None:
        """Its health and its --name, shown as text whatever it contains."""
        with pod(
            PROGRAM, ONE, "--name", "<img src=x onerror=alert(1)>", env={"NODE_NAME": "<b>node</b>"}
        ) as one:
            async with browser() as page:
                await watch(page, f"http://127.0.0.1:{one.port}/.live")
                await page.until(
                    "document.querySelector('.about')?.textContent.includes('<img src=x onerror=')"
                )
                assert await page.evaluate("document.querySelectorAll('#pods img, #pods td b').length") == 0
                state = "document.querySelector('#pods .state').textContent"
                await page.until(f"{state} === 'ready'")
                one.get("/health", method="POST", body=b"503")
                await page.until(f"{state} === 'not ready'")

    async def test_keys_and_names(self) -> None:
        """All controls have a name and a key or the tab; while paused, no request is sent."""
        with pods(ONE) as (one,):
            async with browser() as page:
                await watch(page, f"http://127.0.0.1:{one.port}/.live")
                tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
                controls = [node for node in tree if node["role"]["value"] in ("button", "switch", "slider")]
                assert len(controls) == 6
                assert all(node["name"]["value"] for node in controls)
                for key, name in (("c", "close"), ("k", "cookies"), ("s", "long")):
                    before = await page.evaluate(f"document.querySelector('#{name}').checked")
                    await page.press(key)
                    assert await page.evaluate(f"document.querySelector('#{name}').checked") != before
                await stop_and_compare(page, {ONE: one})
                counted = served(one)
                await asyncio.sleep(0.5)  # ten requests' time
                assert served(one) == counted
                await page.press(" ")
                await page.until(f"answers > {counted[0]}")

    async def test_it_does_not_grow(self) -> None:
        """A thousand more answers leave no more nodes, entries or memory."""
        with pods(ONE, TWO) as (one, two), balancer([one.port, two.port]) as service:
            async with browser() as page:
                await page.open(f"{service.url}/.live")
                await page.evaluate("rate = document.querySelector('#rate'); rate.max = rate.value = 2000")
                await page.evaluate("rate.value = 2000")  # the maximum limited it before
                await page.call("Performance.enable")
                sizes = []
                for many in (200, 1200):
                    await page.until(f"answers > {many}", 90)
                    await page.press(" ")  # answers that arrive meanwhile would leave garbage
                    await page.until("!asking")
                    await page.call("HeapProfiler.collectGarbage")
                    metrics = (await page.call("Performance.getMetrics"))["metrics"]
                    sizes.append({metric["name"]: metric["value"] for metric in metrics})
                    await page.press(" ")
                assert sizes[1]["Nodes"] < sizes[0]["Nodes"] + 50
                assert sizes[1]["JSHeapUsedSize"] < sizes[0]["JSHeapUsedSize"] + 400_000
                assert await page.evaluate("performance.getEntriesByType('resource').length") < 20
                assert await page.evaluate("document.querySelectorAll('#strip li').length") == 120

    async def test_it_fits_a_small_window(self) -> None:
        """Nothing overflows a phone's screen on the right."""
        with pods(ONE) as (one,):
            async with browser() as page:
                await page.open(f"http://127.0.0.1:{one.port}/.live", width=390, height=844, scheme="dark")
                await page.until(f"answers > 2 && {STREAM}")
                assert await page.evaluate("document.documentElement.scrollWidth") <= 390
                assert (
                    await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 18, 22)"
                )
