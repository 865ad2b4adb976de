"""Every metric of Gatewatch: what there is (``specs``), and how it is counted (``counting``)."""

from __future__ import annotations

from gatewatch.metrics.counting import Metrics
from gatewatch.metrics.page import table
from gatewatch.metrics.specs import HOPS, NOTIFY_RESULTS, RECEIVED, SPECS, Label, Spec

__all__ = ["HOPS", "NOTIFY_RESULTS", "RECEIVED", "SPECS", "Label", "Metrics", "Spec", "table"]
