"""Capability sets by name (capabilities(7))."""

from __future__ import annotations

from gotriage.host.privilege import CAPABILITIES


def names(mask: str) -> tuple[str, ...]:
    """A hexadecimal set of /proc/PID/status (CapEff, CapBnd ...) as names in number order.

    A bit that this list does not know is "CAP_41". Raises ValueError when it is no hexadecimal number.
    """
    bits = int(mask, 16)
    return tuple(_name(number) for number in range(min(bits.bit_length(), 64)) if bits >> number & 1)


def _name(number: int) -> str:
    return f"CAP_{CAPABILITIES[number].upper()}" if number < len(CAPABILITIES) else f"CAP_{number}"
