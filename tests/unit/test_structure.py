"""Import rules, module sizes, and use of public names only."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
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


# The rooms of podkit, from the ground floor up: a module imports only from its own room and the floors below
FLOORS = (
    {"budget", "errors", "go", "kernel", "limits", "pod", "proto", "turns"},
    {"connections", "flow", "message"},
    {"log", "routes"},
    {"grpc", "server"},
    {"answer"},
    {"http1", "http2", "proxy_protocol", "tls"},
    {"application", "opening"},
    {"process"},
)
LINES = 250  # maximum per module
# Named tuple methods and an os function, whose underscore has another meaning
PUBLIC = {"_asdict", "_fields", "_make", "_replace", "_exit"}


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
    """Programs do not import each other, podkit imports neither, aiohttp stays at the edge."""
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
    """A server without gRPC clients never loads protobuf."""
    code = "import sys, whoami.cli, whoami.rpc; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def module(path: Path) -> str:
    """The module name of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """Our modules that a file imports, also by ``from podkit import log``."""
    names = {module(path) for path in MODULES}
    found = imports(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name in names}


def floor(room: str) -> int:
    """The floor of a room."""
    found = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert len(found) == 1, f"{room} has no floor yet: give it one in FLOORS"
    return found[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_one_sitting(path: Path) -> None:
    """A larger one does two things."""
    assert path.read_text().count("\n") <= LINES


@pytest.mark.parametrize("path", [path for path in MODULES if path.stem == "__init__"], ids=module)
def test_a_folder_says_what_it_is_for(path: Path) -> None:
    """In a docstring, so that newcomers can find their way."""
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [path for path in MODULES if module(path).startswith("podkit.")], ids=module)
def test_imports_run_one_way(path: Path) -> None:
    """From the process down to Go's rules; two rooms on one floor do not import each other."""
    room = module(path).split(".")[1]
    others = {name.split(".")[1] for name in imported_modules(path) if name.startswith("podkit.")} - {room}
    assert {other for other in others if floor(other) >= floor(room)} == set()


def test_no_imports_in_a_circle() -> None:
    """Any module can be understood and tested with only those below it."""
    TopologicalSorter({module(path): imported_modules(path) for path in MODULES}).prepare()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_public_names_are_used(path: Path) -> None:
    """Of all libraries: a private name may change in any patch release."""
    tree = ast.parse(path.read_text())
    foreign = {"RequestHandler", "web.RequestHandler"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            assert own or node.attr in PUBLIC, ast.unparse(node)
        if isinstance(node, ast.ImportFrom):
            assert not [alias.name for alias in node.names if re.match("_[^_]", alias.name)]
        if isinstance(node, ast.ClassDef):
            assert not {ast.unparse(base) for base in node.bases} & foreign
