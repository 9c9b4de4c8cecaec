"""Who may import whom, and what we lean on in aiohttp."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for folder in ("podkit", "whoami", "whereami")
    for path in (ROOT / folder).rglob("*.py")
    if "_pb2" not in path.name
)
MAY_IMPORT_AIOHTTP = {
    "podkit/application.py",
    "whoami/app.py",
    "whereami/app.py",
    "whoami/watch/http1.py",
    "whoami/watch/target.py",
}
MAY_IMPORT_OPENSSL = {
    f"podkit/tls/{name}.py" for name in ("certificates", "pem", "handshake", "facts", "engine", "connection")
}
MAY_IMPORT_PROTOBUF = {"podkit/grpc/protobuf.py", "podkit/grpc/reflection.py", "whoami/watch/grpc.py"}
FORBIDDEN = {"podkit": {"whoami", "whereami"}, "whoami": {"whereami"}, "whereami": {"whoami"}}
ENDPOINTS_MAY_NOT = {"podkit.http1.connection", "podkit.opening", "podkit.process.serve", "podkit.server"}


def imports(path: Path) -> set[str]:
    """The modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_the_design(path: Path) -> None:
    """Programs do not know each other, the shared part knows neither, aiohttp stays at the edge."""
    name = str(path.relative_to(ROOT))
    package, found = path.relative_to(ROOT).parts[0], imports(path)
    tops = {module.partition(".")[0] for module in found}
    assert not tops & FORBIDDEN[package]
    allowed = {*sys.stdlib_module_names, "podkit", package}
    if name in MAY_IMPORT_AIOHTTP:
        allowed |= {"aiohttp", "multidict", "yarl"}
    if name in MAY_IMPORT_PROTOBUF:
        allowed.add("google")
    if name == "podkit/http2/compression.py":
        allowed.add("hpack")
    if name == "whoami/watch/connection.py":
        allowed.add("h2")
    if name == "podkit/process/serve.py":
        allowed.add("uvloop")
    if name.startswith("whoami/dns/"):
        allowed.add("dns")
    if name in MAY_IMPORT_OPENSSL:
        allowed |= {"OpenSSL", "cryptography"}
    assert tops <= allowed
    if package != "podkit" and path.stem not in ("app", "cli", "serve", "__main__"):
        assert not found & ENDPOINTS_MAY_NOT


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_reads_the_process(path: Path) -> None:
    """Arguments and environment are passed in."""
    if path.stem not in ("console", "settings"):
        assert "sys.argv" not in path.read_text()
        assert "os.environ" not in path.read_text()


def test_protobuf_waits_for_the_first_call() -> None:
    """A server that nobody calls by gRPC never loads protobuf."""
    code = "import sys, whoami.cli, whoami.rpc; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
