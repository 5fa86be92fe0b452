"""The whole model."""

from __future__ import annotations

from typing import Any

from tests.model.base import Told
from tests.model.flows import Flows


class Model(Flows):
    def run_maintenance(self, told: Told) -> list[dict[str, Any]]:
        """What it does to the ledger; how much there was to do of the rest is told, not foreseen."""
        done = {"reap": len(self.reap_expired_leases(told, 1000)), "gate_timeouts": self.time_out_gates(told), "prune": 0}
        return [{**row, "affected": done.get(row["task"], row["affected"])} for row in told.rows]
