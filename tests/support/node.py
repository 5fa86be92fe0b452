"""node's driver for PostgreSQL, from the registry, and a connection as it takes one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

DRIVER = "pg@8"
_NAMES = {"host": "host", "port": "port", "user": "user", "dbname": "database", "password": "password"}


def install(directory: Path) -> Path:
    """Install the driver there; a missing node is a failure."""
    for tool in ("node", "npm"):
        assert shutil.which(tool), f"{tool} is missing: node cannot be tested"
    argv = ["npm", "install", "--prefix", str(directory), "--no-audit", "--no-fund", "--silent", DRIVER]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"npm install {DRIVER}: {done.stderr}"
    return directory


def connection(dsn: str) -> str:
    given = conninfo_to_dict(dsn)
    return json.dumps({_NAMES[key]: str(value) for key, value in given.items() if key in _NAMES})
