"""The pod's facts when they change."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import pytest

from podkit.pod import netlink
from podkit.pod.pod import Pod
from tests.inprocess import until


class Place:
    """A pod's environment, controlled by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hostname = "pod-1"
        self.addresses: list[str] | OSError = ["10.0.0.1"]
        self.told, self.tell = socket.socketpair()
        self.told.setblocking(False)
        monkeypatch.setattr(socket, "gethostname", lambda: self.hostname)
        monkeypatch.setattr(netlink, "read_addresses", self.read_addresses)
        monkeypatch.setattr(netlink, "subscribe", lambda: self.told)

    def read_addresses(self) -> list[str]:
        """Like the kernel."""
        if isinstance(self.addresses, OSError):
            raise self.addresses
        return self.addresses


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A new environment."""
    place = Place(monkeypatch)
    with place.told, place.tell:
        yield place


def new_pod() -> Pod:
    """A pod with a short poll interval."""
    return Pod(interval=0.01)


def render(pod: Pod, prefix: str = "") -> str:
    """A text from the facts."""
    return f"{prefix}{pod.hostname} {pod.addresses}"


async def test_what_is_rendered_is_kept_until_a_fact_changes(place: Place) -> None:
    """For each function and its arguments, and for each pod separately."""
    pod, other = new_pod(), new_pod()
    first = pod.rendered(render)
    assert pod.rendered(render) is first
    assert pod.rendered(render, "name: ") == "name: " + first
    with pod.watching():
        place.hostname = "pod-2"
        await until(lambda: pod.rendered(render) == "pod-2 ['10.0.0.1']")
        assert pod.rendered(render, "name: ") == "name: pod-2 ['10.0.0.1']"
        assert other.rendered(render) == first


async def test_an_address_is_read_when_the_kernel_tells(place: Place) -> None:
    """And not before."""
    pod = new_pod()
    with pod.watching():
        place.addresses = ["10.0.0.2"]
        await asyncio.sleep(0.05)
        assert pod.addresses == ["10.0.0.1"]
        place.tell.send(b"!")
        await until(lambda: pod.rendered(render) == "pod-1 ['10.0.0.2']")


async def test_addresses_stay_while_the_system_is_short_of_descriptors(place: Place) -> None:
    """They are read later, even without another notification."""
    pod = new_pod()
    with pod.watching():
        place.addresses = OSError(errno.EMFILE, "too many open files")
        place.tell.send(b"!")
        await asyncio.sleep(0.05)
        assert pod.addresses == ["10.0.0.1"]
        place.addresses = ["10.0.0.2"]
        await until(lambda: pod.addresses == ["10.0.0.2"])


async def test_without_rtnetlink_addresses_are_those_of_the_name(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked up regularly."""

    def refuse() -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "no rtnetlink")

    found = ["192.0.2.1"]
    monkeypatch.setattr(netlink, "subscribe", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(0, 0, 0, "", (address, 0)) for address in found])
    place.addresses = OSError(errno.EAFNOSUPPORT, "no rtnetlink")
    pod = new_pod()
    assert pod.addresses == ["192.0.2.1"]
    with pod.watching():
        found[:] = ["192.0.2.2"]
        await until(lambda: pod.addresses == ["192.0.2.2"])


async def test_watching_ends(place: Place) -> None:
    """Nothing is left in the loop."""
    pod = new_pod()
    before = asyncio.all_tasks()
    with contextlib.suppress(ValueError), pod.watching():
        raise ValueError
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert place.told.fileno() == -1
