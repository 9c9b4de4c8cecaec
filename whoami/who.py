"""``/.who``: everything known, as JSON.

The first keys are those of the Gateway API's echo-basic, so that its documentation and tools apply:
https://github.com/kubernetes-sigs/gateway-api/tree/main/conformance/echo-basic
"""

import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from podkit import __version__
from podkit.go.url import is_on, parse_query
from podkit.message import CLOSE, Announced, Answer, Request, Response, Tls
from podkit.pod.pod import Pod
from whoami.api import JSON, decode, render_json
from whoami.health import Health
from whoami.wait import wait_first

NO_STORE = ((b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff"))
# echo-basic's keys for these variables, and the node by both of its usual names
_VARIABLES = {"namespace": "NAMESPACE", "ingress": "INGRESS_NAME", "service": "SERVICE_NAME", "pod": "POD_NAME"}
_NODE = ("NODE_NAME", "nodename")


@dataclass(frozen=True)
class Names:
    """The pod's names, from its manifest."""

    name: str = ""  # --name
    node: str = ""
    keys: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(_VARIABLES, ""))
    started: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def read_names(name: str, environ: Iterable[bytes]) -> Names:
    """Reads the names from ``NAME=value`` entries, as the Downward API sets them."""
    pairs = (entry.decode("utf-8", "replace").partition("=") for entry in environ)
    values = {variable: value for variable, _, value in pairs}
    keys = {key: values.get(variable, "") for key, variable in _VARIABLES.items()}
    return Names(name, next(filter(None, map(values.get, _NODE)), "") or "", keys)


class Who:
    """The endpoint; also describes the pod alone."""

    def __init__(self, names: Names, pod: Pod, state: Health) -> None:
        self._names = names
        self._pod = pod
        self._state = state

    def __call__(self, request: Request) -> Answer:
        """Answers after ``?wait=``, as for ``/``. ``?close=true`` closes the connection afterwards."""
        query = parse_query(request.head.query) if request.head.query else {}
        return wait_first(query, partial(self._respond, request, is_on(query, "close")))

    def describe(self) -> dict[str, Any]:
        """The pod: its names, addresses, and state."""
        return {
            "hostname": self._pod.hostname,
            "ip": self._pod.addresses,
            "node": self._names.node,
            "name": self._names.name,
            "version": __version__,
            "started": self._names.started,
            "state": self._describe_state(),
        }

    def _describe_state(self) -> str:
        if self._pod.leaving.is_set():
            return "leaving"
        return "not ready" if self._state.value >= 400 else "serving"

    def _respond(self, request: Request, close: bool) -> Response:
        headers = (JSON, *NO_STORE, *[CLOSE] * close)
        return Response(headers=headers, body=render_json(self._describe_request(request) | self.describe()))

    def _describe_request(self, request: Request) -> dict[str, Any]:
        head, client = request.head, request.client
        tls = {"tls": _describe_tls(client.tls)} if client.tls is not None else {}
        return {
            "path": decode(head.request_uri),
            "host": decode(head.host),
            "method": decode(head.method),
            "proto": f"HTTP/{head.version[0]}.{head.version[1]}",
            "headers": {
                decode(name): [decode(value) for value in values] for name, values in head.headers.items()
            },
            **self._names.keys,
            **tls,
            "sni": client.tls.server_name if client.tls is not None else "",
            "connection": {
                "id": client.id,
                "request": request.number,
                "seconds": round(time.monotonic() - client.opened, 3),
                "peer": client.peer,
                **({"announced": describe_announced(client.announced)} if client.announced is not None else {}),
            },
        }


def describe_announced(announced: Announced) -> dict[str, Any]:
    """The content of a PROXY header, without its empty fields."""
    facts = announced._asdict() | {"tls": announced.tls._asdict() if announced.tls is not None else ""}
    facts = {"client": facts.pop("source"), **facts}
    return {name: value for name, value in facts.items() if value != ""}


def _describe_tls(tls: Tls) -> dict[str, Any]:
    return {
        "version": tls.version,
        "peerCertificates": [_render_pem(certificate) for certificate in tls.certificates],
        "serverName": tls.server_name,
        "negotiatedProtocol": tls.alpn,
        "cipherSuite": tls.cipher,
    }


def _render_pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
