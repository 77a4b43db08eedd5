"""Handshakes with the target's own listeners and with peers, from its network namespace, when somebody asks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.collectors import Meter, Over, Unavailable, check_options
from gotriage.collectors.tls import roots
from gotriage.collectors.tls.settings import named, opened_root, rights
from gotriage.errors import GotriageError, NoSuchTarget, UsageError, reason_of
from gotriage.host import clock, nameless, ownsockets, tlsask, x509
from gotriage.host.dnswire import valid_name
from gotriage.host.tlsask import Endpoint, Met
from gotriage.records.dns import Trap
from gotriage.records.text import clean
from gotriage.records.tls import Handshake, TlsChecks
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gotriage.host import Host
    from gotriage.host.inroot import InRoot
    from gotriage.records import Record
    from gotriage.target.model import Target

SECONDS: Final = 2.5
"""For connecting and for the handshake of one endpoint."""
MOST_PEERS: Final = 3
SHOWN_CHAIN: Final = 6
_PEER: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):([0-9]{1,5})")


class Whom(NamedTuple):
    """One endpoint: how it is shown, and whether it is the target's own."""

    shown: str
    own: bool
    endpoint: Endpoint
    missing: str = ""
    """Why there is no address to connect to."""


def parse_options(options: Mapping[str, str]) -> tuple[list[tuple[str, int]], str]:
    """Peers as (host, port), and the server name to ask for. Raises UsageError."""
    check_options(options, "tls_checks", peer="HOST:PORT,HOST:PORT", sni="NAME")
    peers = []
    for word in filter(None, (part.strip() for part in options.get("peer", "").split(","))):
        match = _PEER.fullmatch(word) or _PEER.fullmatch(f"{word}:443")
        if match is None or not 0 < int(match[2]) < 65536:
            raise UsageError(f"peer={clean(word, 80)!r}: HOST:PORT, [IPV6]:PORT")
        peers.append((match[1].strip("[]"), int(match[2])))
    if len(peers) > MOST_PEERS:
        raise UsageError(f"{MOST_PEERS} peers at once at most")
    sni = options.get("sni", "").strip()
    if sni and not valid_name(sni):
        raise UsageError(f"sni={clean(sni, 80)!r} is no name")
    return peers, sni


class TlsTracer:
    """One round of handshakes; then it is over."""

    backend = "OpenSSL, from inside"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._peers: list[tuple[str, int]] = []
        self._sni = ""
        self._begun = False
        self._met = 0

    def price(self, options: Mapping[str, str]) -> Price:
        """Who is connected to."""
        peers, sni = parse_options(options)
        asks = f", for the name {sni}" if sni else ""
        if peers:
            to = ", ".join(f"{host}:{port}" for host, port in peers)
            words = (
                f"connects to {to} from the target's network namespace and begins TLS{asks}: once, and once more"
                " where the certificate is not trusted; looks the name up first; no request is sent"
            )
            return Price(words=(words,))
        own = self._own_listeners()
        to = ", ".join(own) if own else "nothing: it listens on no TCP port"
        return Price(words=(f"connects to the target's own listeners and begins TLS{asks}: {to}; no request is sent",))

    def start(self, options: Mapping[str, str]) -> None:
        """Only take the options: the first look does it."""
        self._peers, self._sni = parse_options(options)
        if self._target.pid is None:
            raise NoSuchTarget("nothing of the target runs")
        self._begun = True

    def attach(self) -> None:
        """It runs once, and is not switched on and off."""

    def detach(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """Greet, and tell. Raises Over; NotPermitted and OSError when the namespace cannot be entered."""
        pid = self._target.pid
        if pid is None or not self._begun:
            return
        now, env = clock.now(), self._variables(pid)
        net = self._host.proc.path(pid, "ns", "net")
        with opened_root(self._host, pid) as root:
            whom = self._found(root, net) if self._peers else self._own()
            pool = roots.load(root, env, rights(self._host, pid), now) if self._peers else roots.Pool()
            files = self._files(root, pid, env)
        asked = [one for one in whom if not one.missing]
        ders = list(pool.certificates)
        met = tlsask.greet(net, [one.endpoint for one in asked], ders, SECONDS) if asked else []
        answers = dict(zip([one.shown for one in asked], met, strict=True))
        rows = tuple(_row(one, answers.get(one.shown, Met(error=one.missing)), bool(ders)) for one in whom)
        self._met = len(asked)
        yield TlsChecks(at=now, rows=rows, traps=tuple(_traps(rows, files)), roots=len(pool.certificates) or None)
        raise Over(f"TLS was spoken by {sum(bool(row.protocol) for row in rows)} of {len(rows)}")

    def _variables(self, pid: int) -> dict[str, str]:
        try:
            return self._host.proc.environ(pid)
        except (GotriageError, OSError):
            return {}

    def _own_listeners(self) -> list[str]:
        table, why = ownsockets.sockets(self._host, self._target.pids)
        if why and not table:
            raise Unavailable(why, lost=True)
        found = {row[2] for row in table.values() if row[0] in ("tcp", "tcp6") and row[1] == "LISTEN"}
        return sorted(found)[: tlsask.MOST]

    def _own(self) -> list[Whom]:
        """The target's TCP listeners; those of any address by loopback."""
        found = []
        for shown in self._own_listeners():
            host, port = ownsockets.split(shown)
            address = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}.get(host, host)
            if port is not None:
                found.append(Whom(shown, True, Endpoint(address.partition("%")[0], port, self._sni)))
        return found

    def _found(self, root: InRoot, net: str) -> list[Whom]:
        """The peers, each by its first address."""
        found = []
        for host, port in self._peers:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            try:
                addresses, missing = nameless.addresses(root, net, host), f"the name {host} is not found"
            except OSError as error:
                addresses, missing = [], f"the name {host} is not found: {reason_of(error)}"
            name = self._sni or host
            address = addresses[0] if addresses else ""
            missing = "" if address else clean(missing, 300)
            found.append(Whom(shown, False, Endpoint(address, port, name, verify=True), missing))
        return found

    def _files(self, root: InRoot, pid: int, env: dict[str, str]) -> dict[str, list[str]]:
        """Fingerprints of the first certificates of the files that it was given, by path."""
        found: dict[str, list[str]] = {}
        for path, _ in named(self._host.proc.cmdline(pid), env, self._host.proc.link(pid, "cwd")):
            try:
                ders = list(x509.pem(root.read(path, 1 << 20)))[:1]
                found[clean(path, 1024)] = [x509.parse(der).fingerprint for der in ders]
            except (OSError, x509.BadCertificate):
                continue
        return found

    def meter(self) -> Meter:
        """Endpoints that were connected to."""
        return Meter(self._met)

    def stop(self) -> None:
        """Nothing is held."""

    close = stop


def _row(one: Whom, met: Met, tried: bool) -> Handshake:
    chain = []
    for der in met.chain[:SHOWN_CHAIN]:
        try:
            chain.append(x509.parse(der))
        except x509.BadCertificate:
            continue
    verified = None if one.own else met.verified
    problem = clean(met.problem, 300)
    if not one.own and not tried and met.protocol:
        verified, problem = False, "the target has no CA bundle"
    return Handshake(
        address=clean(one.shown, 300),
        own=one.own,
        server_name=clean(one.endpoint.server_name, 256),
        protocol=clean(met.protocol, 20),
        seconds=round(met.seconds, 4) if met.seconds is not None else None,
        error=clean(met.error, 300),
        chain=tuple(chain),
        verified=verified,
        problem=problem,
    )


def _traps(rows: Sequence[Handshake], files: dict[str, list[str]]) -> Iterator[Trap]:
    """What clients stumble over at the own listeners, beyond expiry."""
    for row in rows:
        if not row.chain:
            continue
        leaf = row.chain[0]
        if row.own and not leaf.names and not leaf.is_ca:
            yield Trap(
                "no-names",
                f"{row.address}: the certificate of {leaf.subject or 'no subject'} names no host (SubjectAltName)",
                "Go and browsers do not take the common name for it",
                "make it anew with the names that clients use",
            )
        if "SHA1" in leaf.signature or "MD5" in leaf.signature:
            yield Trap("weak-signature", f"{row.address}: signed with {leaf.signature}, which Go refuses since 1.18")
        alone = len(row.chain) == 1 and not leaf.self_signed
        if alone and (row.verified is False or row.own):
            why = "clients that do not know the intermediate cannot build the chain"
            if row.verified is False:
                yield Trap("incomplete-chain", f"{row.address} sends its own certificate alone", why)
        if row.own and files and not any(leaf.fingerprint in prints for prints in files.values()):
            paths = [path for path, prints in files.items() if prints]
            if paths:
                yield Trap(
                    "not-reloaded",
                    f"{row.address} serves another certificate than stands in {', '.join(paths[:3])}",
                    "the file was changed after the program had read it, or another one is meant",
                    "reload or restart the service",
                )
