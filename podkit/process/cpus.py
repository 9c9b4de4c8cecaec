"""The number of CPUs that this process may use, by affinity and by cgroup quota (v1 or v2)."""

import math
import os
from pathlib import Path


def count_cpus(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """The smallest of all limits on this process, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *map(math.ceil, _quotas(cgroups, own))]))


def _quotas(cgroups: Path, own: Path) -> list[float]:
    """The CPU limits of the cgroups around this process."""
    quotas = []
    for folder in _folders(cgroups, own):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                words = " ".join((folder / name).read_text() for name in names).split()
                quota, period = int(words[0]), int(words[1])
            except (OSError, ValueError, IndexError):  # no such file, or "max"
                continue
            if quota > 0 and period > 0:
                quotas.append(quota / period)
    return quotas


def _folders(cgroups: Path, own: Path) -> list[Path]:
    """The folders that contain the limits; inside a container, the first one is its own."""
    folders = [cgroups, cgroups / "cpu"]
    try:
        entries = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return folders
    for _, controllers, path in entries:
        top = cgroups / "cpu" if "cpu" in controllers.split(",") else cgroups
        if not controllers or top != cgroups:
            inside = Path(path.lstrip("/"))
            folders += [top / folder for folder in (inside, *inside.parents)]
    return folders
