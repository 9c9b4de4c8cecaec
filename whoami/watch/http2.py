"""Requests over HTTP/2, and gRPC calls."""

from typing import Final

from whoami.watch.channel import Channel
from whoami.watch.connection import Response
from whoami.watch.http1 import USER_AGENT, make_jar, tidy
from whoami.watch.outcome import Lost, LostError, NotSpokenError, Reply
from whoami.watch.peer import Peer, clean_name, read_peer
from whoami.watch.target import Target

_CALL: Final = "/whoami.Whoami/Whoami"
_UNIMPLEMENTED: Final = "12"
_VERSION_NOT_SUPPORTED: Final = 505  # whoami's own status, if a proxy forwards a call over HTTP/1.1


class Http2:
    """HTTP/2: with prior knowledge, or negotiated by TLS."""

    def __init__(self, target: Target, cookies: bool) -> None:
        self._url = target.url
        self._channel = Channel(target)
        self._jar = make_jar(cookies)

    @property
    def connections(self) -> int:
        """The number of connections opened so far."""
        return self._channel.connections

    async def ask(self) -> Reply:
        """Sends one GET and returns the answer."""
        response = await self.request("GET", self._url.raw_path_qs, [("accept", "*/*")])
        return Reply(response.status, read_peer(bytes(response.body)), response.connection)

    async def close(self) -> None:
        """Closes gracefully."""
        self._channel.close()

    async def request(
        self, method: str, path: str, fields: list[tuple[str, str]], body: bytes = b""
    ) -> Response:
        """Sends a request with the cookies kept so far and returns the answer."""
        if cookies := self._jar.filter_cookies(self._url):
            fields.append(("cookie", cookies.output(attrs=[], header="", sep=";").strip()))
        fields.append(("user-agent", USER_AGENT))
        response = await self._channel.request(method, path, fields, body)
        set_cookies = [value for name, value in response.headers if name == "set-cookie"]
        self._jar.update_cookies_from_headers(set_cookies, self._url)
        tidy(self._jar)
        return response


class Grpc(Http2):
    """gRPC: calls of ``whoami.Whoami/Whoami``, whose reply has the host name."""

    async def ask(self) -> Reply:
        """Makes one call and returns the reply."""
        from whoami.watch.grpc import call_message, read_reply

        fields = [("content-type", "application/grpc"), ("te", "trailers")]
        response = await self.request("POST", _CALL, fields, call_message())
        kind, code = response.header("content-type"), response.header("grpc-status")
        if response.status >= 500 and response.status != _VERSION_NOT_SUPPORTED:
            return Reply(response.status, Peer(), response.connection)
        if not kind.startswith("application/grpc"):
            raise NotSpokenError(f"it answers with status {response.status} and {kind or 'no content type'}")
        if code == _UNIMPLEMENTED:
            raise NotSpokenError(f"it does not implement {_CALL}")
        if code != "0":
            raise LostError(Lost.SERVER_ERROR, f"grpc-status {code}: {response.header('grpc-message')}")
        hostname = read_reply(bytes(response.body), response.header("grpc-encoding"))
        return Reply(response.status, Peer(clean_name(hostname)), response.connection)
