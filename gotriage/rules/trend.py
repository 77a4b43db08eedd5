"""Growth that lasts, as the rules know it; it lives below, because the collector of limits projects by it too."""

from __future__ import annotations

from gotriage.records.trend import PARTS, SWING, Growth, Point, growth

__all__ = ["PARTS", "SWING", "Growth", "Point", "growth"]
