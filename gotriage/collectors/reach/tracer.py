"""The walk, taken once on request: all is looked at before anything is sent, and the last step is one connect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors import Meter, Over
from gotriage.collectors.reach import names, steps
from gotriage.collectors.reach.wanted import Wanted, is_loopback, wanted_of
from gotriage.errors import NoSuchTarget
from gotriage.host import clock, ownsockets, reaching
from gotriage.host.firewall.model import Packet
from gotriage.host.nameless import is_address
from gotriage.records.reach import Reach, ReachStep
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.collectors.reach.steps import Passage
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

INWARD: Final = ("running", "listening", "address", "route", "firewall", "SELinux", "backlog", "answering")
OUTWARD: Final = ("running", "name", "route", "firewall", "SELinux", "answering")


class ReachTracer:
    """One walk; then it is over."""

    backend = "a TCP connect"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._wanted: Wanted | None = None
        self._sent = 0

    def price(self, options: Mapping[str, str]) -> Price:
        """What is sent, should it come to that."""
        return Price(words=(self._words(self._chosen(options)),))

    def start(self, options: Mapping[str, str]) -> None:
        """Only plan: the walk is taken by the first look."""
        self._wanted = self._chosen(options)

    def _chosen(self, options: Mapping[str, str]) -> Wanted:
        """What is wanted; without a port the first that the target listens on. Raises UsageError, NoSuchTarget."""
        wanted = wanted_of(options)
        if self._target.pid is None:
            raise NoSuchTarget("nothing of the target runs")
        if wanted.port:
            return wanted
        own, _ = steps.own_listeners(self._host, self._target)
        if not own:
            raise NoSuchTarget("the target listens on no TCP port; name the one that it should: to=PORT")
        first = min(own, key=lambda one: (is_loopback(one.address), one.port))
        return Wanted("in", first.address if is_loopback(first.address) else "", first.port)

    def _words(self, wanted: Wanted) -> str:
        place = f"{steps.show(wanted.host)}:{wanted.port}" if wanted.host else f"port {wanted.port} of the target"
        if wanted.direction == "in":
            whence = "the target's network namespace" if is_loopback(wanted.host) else "this machine"
            return f"opens one TCP connection to {place} from {whence} and closes it; nothing is sent on it"
        pid = self._target.pid
        asked = ""
        if not is_address(wanted.host) and pid is not None:
            asked = f"asks {', '.join(names.servers(self._host, pid))} for {wanted.host}, "
        return f"{asked}opens one TCP connection to {place} from the target's network namespace and closes it; no data"

    def attach(self) -> None:
        """It runs once, and is not switched on and off."""

    def detach(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """Walk, and tell. Raises Over."""
        wanted = self._wanted
        if wanted is None:
            return
        begun = clock.now()
        found: list[ReachStep] = []
        to = ""
        walk = self._inward(wanted) if wanted.direction == "in" else self._outward(wanted)
        for step, known in walk:
            found.append(step)
            to = known or to
            if step.state == "failed":
                break
        order = INWARD if wanted.direction == "in" else OUTWARD
        last = found[-1]
        sent = f"one TCP connection to {steps.show(to)}:{wanted.port}" if last.step == "answering" else ""
        self._sent = int(bool(sent))
        reached = False if last.state == "failed" else True if sent and last.state == "ok" else None
        yield Reach(
            at=begun,
            direction=wanted.direction,
            address=to or wanted.host,
            port=wanted.port,
            rows=(*found, *steps.rest(found, order)),
            sent=sent,
            reached=reached,
        )
        raise Over("reached" if reached else f"stopped at: {last.step}" if last.state == "failed" else "not known")

    def _inward(self, wanted: Wanted) -> Iterator[tuple[ReachStep, str]]:
        host, target = self._host, self._target
        yield steps.running(target), ""
        pid = target.pid
        if pid is None:
            return
        shared = steps.shares_network(host, pid)
        own, why = steps.own_listeners(host, target)
        every, more = reaching.listeners(host, pid)
        step, mine = steps.listening(wanted.port, own, every, why or ("" if own else more))
        yield step, ""
        if not mine:
            return
        step, to = steps.address(wanted.host, mine, ownsockets.addresses(host, pid), shared=shared)
        yield step, to
        if not to:
            return
        inside = is_loopback(to)
        sender: int | str = pid if inside else "self"
        step, source = steps.routed(host, sender, to, "this machine" if not inside else "its namespace")
        yield step, to
        version = 6 if ":" in to else 4
        outside = Packet(
            version, "tcp", None if not inside else source, to, None, wanted.port, iif="lo" if inside else None
        )
        packets: list[Passage] = [
            ("its own namespace" if not shared else "this machine", pid, outside, ("prerouting", "input"))
        ]
        if not shared and not inside:
            leaving = Packet(version, "tcp", source or None, to, None, wanted.port)
            own_packet = Packet(version, "tcp", source or None, to, None, wanted.port)
            packets[0] = ("its own namespace", pid, own_packet, ("prerouting", "input"))
            packets.append(("this machine, on the way there", "self", leaving, ("output",)))
        yield steps.filtered(host, pid, packets), to
        yield steps.mandatory(host, target, "name_bind", wanted.port), to
        yield steps.queued(host, pid, mine), to
        yield steps.answering(host, sender, to, wanted.port), to

    def _outward(self, wanted: Wanted) -> Iterator[tuple[ReachStep, str]]:
        host, target = self._host, self._target
        yield steps.running(target), ""
        pid = target.pid
        if pid is None:
            return
        step, to = names.resolved(host, pid, wanted.host)
        yield step, to
        if not to:
            return
        step, source = steps.routed(host, pid, to, "its namespace")
        yield step, to
        version, lo = (6 if ":" in to else 4), ("lo" if is_loopback(to) else None)
        leaving = Packet(version, "tcp", source or None, to, None, wanted.port, oif=lo)
        shared = steps.shares_network(host, pid)
        packets: list[Passage] = [
            ("this machine" if shared else "its own namespace", pid, leaving, ("output", "postrouting"))
        ]
        if not shared and lo is None:
            packets.append(("this machine, on the way", "self", leaving, ("prerouting", "forward")))
        yield steps.filtered(host, pid, packets), to
        yield steps.mandatory(host, target, "name_connect", wanted.port), to
        yield steps.answering(host, pid, to, wanted.port), to

    def meter(self) -> Meter:
        """Connections opened."""
        return Meter(self._sent)

    def stop(self) -> None:
        """Nothing is held."""

    close = stop
