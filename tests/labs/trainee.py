"""A trainee's machine: a shell with kubectl and an empty cluster, and an engine that only records names."""

import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import trustme

from tests.labs.apiserver import serve
from tests.labs.cluster import Cluster, Images
from tests.labs.guide import Example
from tests.labs.manifests import K8S, KUBECTL
from tests.server import PATIENCE, wait_for

VERSION = version("whoami-whereami")
NAMES = ("whoami", "whereami", "utils")
# The stand-in does not validate fields (test_valid.py does), and does not read protobuf, which create sends
SHELL = """set -o pipefail
kubectl() { case $1 in
  apply) command kubectl "$@" --validate=false;;
  create) command kubectl "$@" --dry-run=client | sed 's/ (dry run)$//';;
  *) command kubectl "$@";;
esac; }
"""


class Trainee:
    """Types the commands of a page, one after the other."""

    def __init__(self, home: Path, kubeconfig: Path, images: Images, cluster: Cluster) -> None:
        self.kubeconfig = kubeconfig
        self._home = home
        self.cluster = cluster
        self._env = {
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(home),
            "PATH": f"{KUBECTL.parent}:/usr/bin:/bin",
        }
        self._images = images
        self.local: dict[str, str] = {}  # ids of the engine's images by name
        self._settings = ""
        self._restarted = 0
        self._utils = "kubectl exec deploy/utils"

    def type(self, example: Example) -> subprocess.CompletedProcess[str] | None:
        """Types a command; returns nothing for one that is not for the cluster."""
        command = example.command
        if re.match(r"(docker (build|tag|push)|make (image|push))\b(?!x)", command):
            self._use_engine(command)
        if health := re.search(r"-d (\d+) localhost:8080/health$", command):
            pod = self.run(f"{self._settings}echo $POD").stdout.strip()
            with self.cluster.lock:
                self.cluster.fail(pod, fails=health[1] != "200")
        if example.inside:
            command = f"{self._utils} -- bash -c {shlex.quote(command)}"
        elif "kubectl" not in command:
            return None
        if into := re.match(r"(kubectl exec.* deploy/utils) -- bash$", command):
            self._utils = into[1].replace(" -it", "")
        if restarts := "rollout restart" in command:  # kubectl refuses a second one within a second
            wait_for(lambda: int(time.time()) > self._restarted)
        done = self.run(self._settings + command)
        if restarts:
            self._restarted = int(time.time())
        if re.match(r"[A-Z_]+=", command):
            self._settings += command + "\n"
        return done

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as the shell does."""
        shell = ["bash", "-c", SHELL + command]
        return subprocess.run(
            shell, env=self._env, cwd=self._home, capture_output=True, text=True, timeout=2 * PATIENCE
        )

    def _use_engine(self, command: str) -> None:
        program, verb, *words = shlex.split(command)
        options = dict(re.findall(r"(--target|-t|--build-arg VERSION=)\s*([\w/.:]+)", command))
        if verb == "build":
            made = f"{options.get('--target', 'whoami')} {options.get('--build-arg VERSION=', 'unknown')}"
            self.local[_tagged(options["-t"])] = made
        elif verb == "image":
            self.local |= {
                f"{name}:{tag}": f"{name} {VERSION}" for name in NAMES for tag in (VERSION, "latest")
            }
        elif verb == "tag":
            self.local[_tagged(words[1])] = self.local[_tagged(words[0])]
        elif program == "docker":
            self._images.in_registries[_tagged(words[0])] = self.local[_tagged(words[0])]
        else:
            registry = words[0].removeprefix("REGISTRY=")
            for name, tag in ((name, tag) for name in NAMES for tag in (VERSION, "latest")):
                self.local[f"{registry}/{name}:{tag}"] = self.local[f"{name}:{VERSION}"]
                self._images.in_registries[f"{registry}/{name}:{tag}"] = self.local[f"{name}:{VERSION}"]


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


@contextmanager
def trainee(home: Path) -> Iterator[Trainee]:
    """A trainee with this project's k8s/, a certificate like mkcert's, and images loaded into the nodes."""
    (home / "k8s").symlink_to(K8S)
    certificate = trustme.CA().issue_cert("*.whereami.svc")
    (home / "build").mkdir()
    certificate.cert_chain_pems[0].write_to_path(home / "build" / "whereami.pem")
    certificate.private_key_pem.write_to_path(home / "build" / "whereami-key.pem")
    images = Images({f"{name}:{VERSION}": f"{name} {VERSION}" for name in NAMES})
    cluster = Cluster(images)
    with serve(cluster, home) as kubeconfig:
        yield Trainee(home, kubeconfig, images, cluster)
