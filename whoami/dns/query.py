"""DNS queries in the manner of glibc's stub resolver: servers in turn, attempts, timeouts."""

import socket
import time
from dataclasses import dataclass

import dns.exception
import dns.inet
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
from dns.rdatatype import RdataType

from whoami.dns.resolv_conf import ResolvConf

_NEXT_SERVER = (dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED)


class OutOfTime(Exception):
    """The command's time limit has passed."""


@dataclass(frozen=True)
class Answer:
    """An answer: `status` is an RCODE (``NOERROR``, ``NXDOMAIN``), or why there was none."""

    status: str
    records: tuple[str, ...] = ()  # in the answer's order, in zone file syntax with escaped control bytes
    ttl: int | None = None  # seconds
    canonical: str = ""  # the target of a CNAME
    final: bool = False  # no server answered: glibc stops here


class Resolver:
    """Queries servers until `deadline`, on the monotonic clock."""

    def __init__(self, conf: ResolvConf, port: int, deadline: float) -> None:
        self._conf = conf
        self._port = port
        self._deadline = deadline

    def ask(self, name: str, kind: RdataType) -> Answer:
        """The answer of the first server that gives one. Raises OutOfTime."""
        question = dns.message.make_query(name, kind)
        answer = Answer("no answer")
        for attempt in range(self._conf.attempts):
            for server in self._conf.servers:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise OutOfTime
                patience = float(self._conf.timeout << attempt)
                if attempt:
                    patience = max(1.0, patience / len(self._conf.servers))
                answer = self._ask_server(question, server, min(patience, left))
                if not answer.final:
                    return answer
        return answer

    def _ask_server(self, question: dns.message.QueryMessage, server: str, patience: float) -> Answer:
        try:
            family = dns.inet.af_for_address(server)
            with socket.socket(family, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                # connected, so that an unreachable server is detected immediately
                channel.connect(dns.inet.low_level_address_tuple((server, self._port), family))
                reply, _ = dns.query.udp_with_fallback(
                    question, server, patience, self._port, ignore_unexpected=True, udp_sock=channel
                )
        except dns.exception.Timeout:
            return Answer(f"no answer from {server} in {patience:.3g} s", final=True)
        except OSError as problem:
            return Answer(f"{server}: {problem.strerror or problem}", final=True)
        except (dns.exception.DNSException, ValueError):
            return Answer(f"{server}: a malformed answer", final=True)
        status = dns.rcode.to_text(reply.rcode())
        if reply.rcode() in _NEXT_SERVER:
            return Answer(status, final=True)
        return _read(reply, status)


def _read(reply: dns.message.Message, status: str) -> Answer:
    assert isinstance(reply, dns.message.QueryMessage)
    try:
        chain = reply.resolve_chaining()
    except dns.exception.DNSException:  # a CNAME loop, or no question in it
        return Answer(status)
    canonical = chain.canonical_name.to_text() if chain.cnames else ""
    if chain.answer is None:
        return Answer(status, canonical=canonical)
    records = tuple(record.to_text() for record in chain.answer)
    return Answer(status, records, chain.minimum_ttl, canonical)
