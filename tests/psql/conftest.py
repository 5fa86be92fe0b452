"""Tests of clients that need more than PostgreSQL and Python run with every test on every server: `--pg-all`."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--pg-all"):
        return
    left_out = [item for item in items if item.path == HERE / "test_node.py"]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
