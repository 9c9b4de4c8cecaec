"""Assembles the file trees of the images without a distribution; runs in the Dockerfile's build stage.

    image_root.py server ROOT          Python, the wheels in ./site and the programs
    image_root.py tools ROOT BESIDE    curl and ping, without the files in the tree BESIDE

On any architecture: a file is copied with the shared libraries that the loader finds for it, and each package
of a copied file leaves its record and licence where scanners look for them.
"""

import compileall
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

STDLIB = Path(sysconfig.get_path("stdlib"))
SITE = Path("/usr/local/lib") / STDLIB.name / "dist-packages"  # Debian's Python looks for wheels here
AUTHORITIES = Path("/usr/share/ca-certificates/mozilla")
PROGRAMS = ("whoami", "whereami")
LAUNCHER = """\
#!/usr/bin/python3 -I
import gc

gc.disable()  # what a start imports is no garbage: looking for some takes a tenth of the time
from {program}.cli import run_console

gc.enable()
run_console()
"""
NAMES = "hosts: files dns\n"

# Parts of the standard library that no server imports, directly or through a library. (Importing one would
# fail with its name; the tests run every endpoint in the finished image.)
UNNEEDED_MODULES = (
    *("test", "unittest", "doctest.py", "pdb.py", "bdb.py", "trace.py"),  # for developers
    *("_pyrepl", "code.py", "cmd.py", "rlcompleter.py", "curses", "turtle.py"),  # for a terminal
    *("pydoc.py", "pydoc_data", "pyclbr.py", "pickletools.py", "tabnanny.py"),  # about code
    *("venv", "ensurepip", "zipapp.py", "sitecustomize.py"),  # for installing packages
    *("idlelib", "tkinter", "lib2to3", "turtledemo"),  # usually in separate packages
    *("sqlite3", "dbm", "shelve.py", "xml", "plistlib.py", "bz2.py", "lzma.py"),  # other formats
    *("xmlrpc", "wsgiref", "mailbox.py", "ftplib.py", "imaplib.py", "poplib.py", "smtplib.py"),  # and protocols
    *("_pydecimal.py", "_pydatetime.py", "_pyio.py"),  # substitutes for modules in C, which are present
)
UNNEEDED_EXTENSIONS = (
    *("_test*", "_ctypes_test*", "xx*", "_lsprof*"),  # for developers
    *("_bz2*", "_lzma*", "_sqlite3*", "_dbm*", "_gdbm*", "_curses*", "_tkinter*", "readline*"),  # for the above
    "_codecs_*",  # CJK encodings; the servers only use UTF-8 and Latin-1
)

# In the wheels: type stubs, compiled sources, pip's records (inventories read METADATA, and the licences
# stay), shell commands; and cffi's C front end, of which cryptography uses only the compiled part.
UNNEEDED_WHEEL_FILES = (
    *("*.pyi", "*.pyx", "*.pxd", "*.pxi", "*.c", "*.h", "*.hash", "*.proto", "py.typed", "_testcapi*", "bin"),
    *("RECORD", "INSTALLER", "REQUESTED", "WHEEL", "top_level.txt", "entry_points.txt"),
    *("cffi", "pycparser", "pycparser-*"),
)


def run(*command: str | Path) -> str:
    """A command's output; CalledProcessError if it fails."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class Root:
    """A tree that becomes an image; `beside` is a tree below it, whose files are not copied again."""

    def __init__(self, path: Path, beside: Path | None = None) -> None:
        self.path = path
        self.beside = beside
        self.sources: set[Path] = set()
        for link in ("bin", "lib", "lib64", "sbin"):  # Debian's merged /usr; the loader's name is under /lib*
            (path / "usr" / link).mkdir(parents=True, exist_ok=True)
            (path / link).symlink_to(f"usr/{link}")

    def place(self, path: Path) -> Path:
        """The place of an image's absolute path in this tree."""
        return self.path / path.relative_to("/")

    def copy(self, path: Path) -> None:
        """Copies a file under the name that was requested, with its content and its libraries."""
        target = self.place(path)
        if target.exists() or (self.beside is not None and (self.beside / path.relative_to("/")).exists()):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
        self.sources.add(path.resolve())
        self.copy_libraries(path)

    def copy_libraries(self, path: Path) -> None:
        """Copies the shared libraries that the loader finds for a file, and the loader."""
        listed = subprocess.run(["ldd", path], capture_output=True, text=True)
        for line in listed.stdout.splitlines() if listed.returncode == 0 else ():
            for word in line.split():
                # wheels may include their own
                if word.startswith("/") and not Path(word).is_relative_to(self.path):
                    self.copy(Path(word))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a generated file."""
        target = self.place(Path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def record_packages(self) -> None:
        """Records the files' Debian packages, one record each, and copies their licences."""
        owners: set[str] = set()
        for line in run("dpkg-query", "--search", *sorted(self.sources)).splitlines():
            owners |= {name.strip() for name in line.rpartition(": ")[0].split(",")}
        for owner in sorted(owners):
            name = owner.partition(":")[0]
            self.write(f"/var/lib/dpkg/status.d/{name}", run("dpkg-query", "--status", owner))
            licence = Path(f"/usr/share/doc/{name}/copyright")
            if licence.exists():  # some slim images have none
                self.write(str(licence), licence.read_text())


def copy_server(root: Root) -> None:
    """Copies Python with its standard library, the wheels, and the two programs."""

    def ignore(folder: str, names: list[str]) -> set[str]:
        unneeded: tuple[str, ...] = ("__pycache__",)
        if Path(folder) == STDLIB:
            unneeded += UNNEEDED_MODULES
        elif Path(folder).name == "lib-dynload":
            unneeded += UNNEEDED_EXTENSIONS
        elif not folder.startswith("/usr"):
            unneeded += UNNEEDED_WHEEL_FILES
        return {name for name in names if any(fnmatch(name, pattern) for pattern in unneeded)}

    root.copy(Path("/usr/bin/python3"))
    shutil.copytree(STDLIB, root.place(STDLIB), ignore=ignore)
    shutil.copytree("site", root.place(SITE), ignore=ignore)
    for extension in root.place(SITE).rglob("*.so"):
        run("strip", "--strip-unneeded", extension)
    for extension in root.path.rglob("*.so"):
        root.copy_libraries(extension)
    library = root.place(STDLIB)
    root.sources |= {STDLIB / path.relative_to(library) for path in library.rglob("*") if path.is_file()}
    compile_modules(root, STDLIB, optimize=2)  # without docstrings and assertions: a megabyte of memory
    compile_modules(root, SITE, optimize=0)  # other packages may rely on assertions
    for program in PROGRAMS:
        root.write(f"/usr/bin/{program}", LAUNCHER.format(program=program), 0o755)
    root.write("/etc/nsswitch.conf", NAMES)
    root.write("/etc/os-release", Path("/etc/os-release").read_text())


def compile_modules(root: Root, folder: Path, optimize: int) -> None:
    """Replaces each source by bytecode: smaller, and nothing to compile at startup."""
    done = compileall.compile_dir(
        root.place(folder),
        maxlevels=20,
        quiet=1,
        legacy=True,
        stripdir=str(root.path),  # tracebacks show the image's paths
        prependdir="/",
        optimize=optimize,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,  # reproducible builds
    )
    assert done, "a module does not compile"
    for source in root.place(folder).rglob("*.py"):
        source.unlink()


def copy_tools(root: Root) -> None:
    """Copies curl with Mozilla's certificate authorities, and ping."""
    for tool in ("curl", "ping"):
        root.copy(Path("/usr/bin") / tool)
    authorities = sorted(AUTHORITIES.glob("*.crt"))
    root.sources.add(authorities[0])
    root.write("/etc/ssl/certs/ca-certificates.crt", "".join(path.read_text() for path in authorities))


def main(arguments: list[str]) -> None:
    """Assembles one tree."""
    kind, path, *beside = arguments
    root = Root(Path(path), *map(Path, beside))
    {"server": copy_server, "tools": copy_tools}[kind](root)
    root.record_packages()


if __name__ == "__main__":
    main(sys.argv[1:])
