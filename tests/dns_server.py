"""A name server in its own network namespace, and a command that runs next to it.

    python -m tests.dns_server PLAN COMMAND...

runs under ``unshare --net --mount``. PLAN is JSON: the interface's `addresses`, `resolv_conf`, `records` (by
name and type, in the order of the answer), `shuffle` them or not, names that get no answer (`silent`) or
SERVFAIL (`broken`). The questions that were asked are written to the file `log`, a line each.
"""

import json
import random
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Zone:
    """Answers queries according to the plan."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.log = open(plan["log"], "a", buffering=1)  # noqa: SIM115 - as long as the process

    def answer(self, wire: bytes, room: int) -> bytes | None:
        """The answer to a query, with only as many addresses as fit into `size` bytes."""
        question = dns.message.from_wire(wire)
        name, kind = question.question[0].name.to_text(), dns.rdatatype.to_text(question.question[0].rdtype)
        self.log.write(f"{name} {kind}\n")
        if name in self.plan.get("silent", ()):
            return None
        reply = dns.message.make_response(question)
        reply.flags |= dns.flags.RA
        records: dict[str, list[str]] = self.plan.get("records", {})
        if name in self.plan.get("broken", ()):
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif not any(key.split()[0] == name for key in records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if f"{name} CNAME" in records:
            target = records[f"{name} CNAME"][0]
            reply.answer.append(dns.rrset.from_text(name, 5, "IN", "CNAME", target))
            name = target
        values = list(records.get(f"{name} {kind}", ()))
        if self.plan.get("shuffle"):
            random.shuffle(values)
        if values:
            reply.answer.append(dns.rrset.from_text(name, 30, "IN", kind, *values))
        answer = reply.to_wire(max_size=65535, want_shuffle=False)
        if len(answer) > room:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            answer = reply.to_wire()
        return answer


def serve(zone: Zone) -> None:
    """Answers on port 53 of the loopback address, over UDP and TCP."""

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if (answer := zone.answer(self.request[0], 512)) is not None:
                self.request[1].sendto(answer, self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!H", self.rfile.read(2))
            if (answer := zone.answer(self.rfile.read(length), 65535)) is not None:
                self.wfile.write(struct.pack("!H", len(answer)) + answer)

    servers: tuple[socketserver.BaseServer, ...] = (
        socketserver.ThreadingUDPServer(("127.0.0.1", 53), Udp),
        socketserver.ThreadingTCPServer(("127.0.0.1", 53), Tcp),
    )
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()


def main(plan_file: str, *command: str) -> int:
    """Sets up the namespace, serves, and runs the command; returns its exit status."""
    plan = json.loads(Path(plan_file).read_text())
    set_up = [
        ["link", "set", "lo", "up"],
        ["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"],
        ["link", "set", "eth0", "up"],
        ["link", "set", "eth1", "up"],
    ]
    set_up += [
        ["address", "add", address, "dev", "eth0", *["nodad"] * (":" in address)]
        for address in plan["addresses"]
    ]
    set_up += [["route", "add", "default", "dev", "eth0"], ["-6", "route", "add", "default", "dev", "eth0"]]
    for arguments in set_up:
        subprocess.run(["ip", *arguments], check=True)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(plan["resolv_conf"])
        file.flush()
        Path(file.name).chmod(0o644)
        subprocess.run(["mount", "--bind", file.name, str(Path("/etc/resolv.conf").resolve())], check=True)
        serve(Zone(plan))
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
