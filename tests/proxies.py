"""Proxies and pods: nginx, Traefik, HAProxy, a TCP balancer; and pods with names.

    with pod("whoami", "whoami-4wzkx") as one, pod("whoami", "whoami-n8jtd") as two:
        with nginx([one.port, two.port]) as proxy:
            ... proxy.url ...

A test is skipped if the program is missing, and fails if CI is set (tests/needs.py).
"""

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import Identity, client_context
from tests.needs import NGINX_STREAM, find, require
from tests.server import PATIENCE, Server, free_port, wait_for

_READY = "/.proxy-is-ready"  # Traefik answers it once it has its configuration


@dataclass(frozen=True)
class Proxy:
    """A proxy on 127.0.0.1, stopped with the context."""

    url: str
    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def nginx(ports: Sequence[int], *, tls: Identity | None = None, grpc: bool = False) -> Iterator[Proxy]:
    """nginx that rotates through the backends, request by request.

    With `tls` it supports HTTP/2 as well as HTTP/1.1; with `grpc` it forwards whoami's calls over HTTP/2.
    """
    program = _require("nginx")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        servers = "".join(f"server 127.0.0.1:{backend} max_fails=0;" for backend in ports)
        listen = f"listen 127.0.0.1:{port}"
        if tls:
            tls.write(folder)
            listen += f" ssl http2; ssl_certificate {folder}/tls.crt; ssl_certificate_key {folder}/tls.key"
        call = "location /whoami.Whoami/ { grpc_pass grpc://calls; }" if grpc else ""
        places = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(f"""
            daemon off; {user} worker_processes 1; pid {folder}/pid; error_log stderr error;
            events {{}}
            http {{
              access_log off; {places}
              upstream pods {{ {servers} keepalive 16; }}
              upstream calls {{ {servers} keepalive 16; }}
              server {{
                {listen};
                {call}
                location / {{
                  proxy_pass http://pods; proxy_http_version 1.1;
                  proxy_set_header Connection ""; proxy_set_header Host $http_host;
                }}
              }}
            }}""")
        command = [program, "-e", "stderr", "-p", name, "-c", str(folder / "nginx.conf")]
        with _running(command, port, "https" if tls else "http") as proxy:
            yield proxy


@contextmanager
def traefik(
    ports: Sequence[int],
    *,
    tls: Identity | None = None,
    scheme: str = "http",
    sticky: str = "",
    prefix: str = "",
    strip: bool = False,
    http2: bool = True,
) -> Iterator[Proxy]:
    """Traefik that rotates through the backends, request by request; with HTTP/2, with and without `tls`.

    `scheme` is the backends' protocol (``h2c`` carries gRPC), `sticky` the name of a cookie that keeps a client
    with its backend, `prefix` the routed path (`strip` removes it). With `http2` off it refuses HTTP/2 in a TLS
    handshake.
    """
    program = _require("traefik")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        balancer: dict[str, object] = {
            "servers": [{"url": f"{scheme}://127.0.0.1:{backend}"} for backend in ports],
            **({"sticky": {"cookie": {"name": sticky}}} if sticky else {}),
        }
        router = {
            "rule": f"PathPrefix(`{prefix or '/'}`)",
            "service": "pods",
            **({"middlewares": ["strip"]} if strip else {}),
            **({"tls": {}} if tls else {}),
        }
        ready = {"rule": f"Path(`{_READY}`)", "service": "ping@internal", "priority": 1000}
        dynamic: dict[str, object] = {
            "http": {
                "routers": {"pods": router, "ready": {**ready, **({"tls": {}} if tls else {})}},
                "services": {"pods": {"loadBalancer": balancer}},
                **({"middlewares": {"strip": {"stripPrefix": {"prefixes": [prefix]}}}} if strip else {}),
            }
        }
        if tls:
            tls.write(folder)
            pair = {"certFile": str(folder / "tls.crt"), "keyFile": str(folder / "tls.key")}
            alpn = ["h2", "http/1.1"] if http2 else ["http/1.1"]
            dynamic["tls"] = {
                "stores": {"default": {"defaultCertificate": pair}},
                "options": {"default": {"alpnProtocols": alpn}},
            }
        (folder / "dynamic.yaml").write_text(json.dumps(dynamic))  # JSON is YAML
        command = [
            program,
            f"--entrypoints.web.address=127.0.0.1:{port}",
            f"--providers.file.filename={folder}/dynamic.yaml",
            "--providers.file.watch=false",
            "--ping.manualrouting=true",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            "--log.level=ERROR",
        ]
        with _running(command, port, "https" if tls else "http", _READY) as proxy:
            yield proxy


@contextmanager
def haproxy(port: int) -> Iterator[Proxy]:
    """HAProxy that forwards requests to one backend, with the client's address in a header."""
    with _haproxy(f"mode http; option forwardfor; server pod 127.0.0.1:{port}") as proxy:
        yield proxy


@contextmanager
def _haproxy(rules: str, listen: str = "") -> Iterator[Proxy]:
    """HAProxy with the rules of one location, separated by semicolons."""
    program = _require("haproxy")
    with tempfile.TemporaryDirectory() as name:
        file, own = Path(name) / "haproxy.cfg", free_port()
        lines = [line.strip() for line in rules.split(";")]
        file.write_text(
            "\n  ".join(["defaults", "timeout connect 5s", "timeout client 30s", "timeout server 30s"])
            + "\n"
            + "\n  ".join(["listen pods", f"bind 127.0.0.1:{own} {listen}", *lines])
            + "\n"
        )
        with _running([program, "-db", "-f", str(file)], own, "http") as proxy:
            yield proxy


@contextmanager
def sends_proxy_header(sender: str, port: int, folder: Path) -> Iterator[Proxy]:
    """A proxy that forwards connections with a PROXY header: nginx, haproxy or traefik, a dash, and 1 or 2.

    haproxy-tls terminates TLS, and describes it in a header of version 2 with a checksum.
    """
    if sender == "nginx-1":
        with _nginx_stream(port, folder) as proxy:
            yield proxy
    elif sender.startswith("haproxy"):
        how = {
            "haproxy-1": "send-proxy",
            "haproxy-2": "send-proxy-v2",
            "haproxy-tls": "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,crc32c,authority,ssl-cipher",
        }[sender]
        listen = f"ssl crt {folder}/tls.pem alpn http/1.1" if sender == "haproxy-tls" else ""
        with _haproxy(f"mode tcp; server pod 127.0.0.1:{port} {how}", listen) as proxy:
            yield proxy
    else:
        with _traefik_tcp(port, int(sender[-1]), folder) as proxy:
            yield proxy


@contextmanager
def _nginx_stream(port: int, folder: Path) -> Iterator[Proxy]:
    require("nginx-stream")
    program, own = _require("nginx"), free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"""
        load_module {NGINX_STREAM};
        daemon off; {user} worker_processes 1; pid {folder}/pid; error_log stderr error;
        events {{}}
        stream {{
          server {{ listen 127.0.0.1:{own}; proxy_pass 127.0.0.1:{port}; proxy_protocol on; }}
        }}""")
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with _running(command, own, "http") as proxy:
        yield proxy


@contextmanager
def _traefik_tcp(port: int, version: int, folder: Path) -> Iterator[Proxy]:
    program, own = _require("traefik"), free_port()
    dynamic = {
        "tcp": {
            "routers": {"pods": {"rule": "HostSNI(`*`)", "service": "pods"}},
            "services": {
                "pods": {
                    "loadBalancer": {
                        "servers": [{"address": f"127.0.0.1:{port}"}],
                        "serversTransport": "proxied",
                    }
                }
            },
            "serversTransports": {"proxied": {"proxyProtocol": {"version": version}}},
        }
    }
    (folder / "dynamic.yaml").write_text(json.dumps(dynamic))
    command = [
        program,
        f"--entrypoints.web.address=127.0.0.1:{own}",
        f"--providers.file.filename={folder}/dynamic.yaml",
        "--providers.file.watch=false",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=ERROR",
    ]
    with _running(command, own, "http", "/health") as proxy:  # its own 404, until it knows the pod
        yield proxy


@dataclass
class Balancer:
    """Stands in for a Service: connections rotate through `ports`, which may be changed.

    `connections` counts them by the backend's port.
    """

    ports: list[int]
    port: int
    connections: Counter[int] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket, number: int) -> None:
        """Connects a client to the next backend; if that refuses, resets the client."""
        backend_port = self.ports[number % len(self.ports)]
        try:
            backend = socket.create_connection(("127.0.0.1", backend_port), PATIENCE)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return client.close()
        backend.settimeout(None)
        self.connections[backend_port] += 1
        for source, sink in ((client, backend), (backend, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


@contextmanager
def balancer(ports: Sequence[int]) -> Iterator[Balancer]:
    """A balancer of TCP connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        made = Balancer(list(ports), listener.getsockname()[1])

        def accept() -> None:
            number = 0
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    made.serve(client, number)
                    number += 1

        threading.Thread(target=accept, daemon=True).start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def pod(
    program: str, hostname: str, *arguments: str, port: int = 0, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A program with a fake host name, on a free port; stopped at the end."""
    privileges = [] if os.geteuid() == 0 else ["--map-root-user"]
    words = ["unshare", *privileges, "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', hostname]
    command = [*words, sys.executable, "-m", program, "--port", str(port), *arguments]
    server = Server(command, {"PATH": os.environ["PATH"], **(env or {})})
    try:
        yield server
        server.stop()
    finally:
        server.process.kill()
        server.process.wait()


def _require(program: str) -> str:
    require(program)
    found = find(program)
    assert found
    return found


@contextmanager
def _running(command: list[str], port: int, scheme: str, path: str = "") -> Iterator[Proxy]:
    """A proxy that listens, and answers 200 for `path`, if given; no pod gets that request."""
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return _answers(port, scheme, path)
            log.seek(0)
            assert process.poll() is None, log.read().decode(errors="replace")
            return False

        try:
            wait_for(answers)
            yield Proxy(f"{scheme}://127.0.0.1:{port}", port, process)
        finally:
            process.kill() if path else process.terminate()


def _answers(port: int, scheme: str, path: str) -> bool:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
        if not path:
            return True
        with client_context().wrap_socket(plain) if scheme == "https" else plain as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
            return b" 200 " in connection.recv(1 << 12)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    sink.close()
