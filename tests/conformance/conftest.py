"""What needs node runs with every test on every server: `--pg-all`."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--pg-all"):
        return
    left_out = [item for item in items if item.name.startswith("test_by_node")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
