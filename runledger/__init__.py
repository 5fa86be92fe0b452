"""Runledger: a durable job queue and workflow engine inside PostgreSQL.

The decisions are SQL functions of the schema `runledger`; this package calls them.
"""

from __future__ import annotations

from importlib import metadata

from runledger.aclient import AsyncClient
from runledger.app import App
from runledger.client import Client
from runledger.errors import (
    Conflict,
    DefinitionUnavailable,
    IdempotencyConflict,
    InternalError,
    InvalidArgument,
    InvalidState,
    InvalidWorkflow,
    LeaseLost,
    NotFound,
    NotGranted,
    PayloadRefused,
    RunledgerError,
    UnsupportedIsolation,
    WorkflowFailed,
    WorkflowResultNotDeclared,
    WorkflowResultTimeout,
)
from runledger.job import Continue, Failure, Job, SyncJob
from runledger.types import Undecodable
from runledger.workflow import Workflow

try:
    __version__ = metadata.version("runledger")
except metadata.PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0.source"

__all__ = [
    "App",
    "AsyncClient",
    "Client",
    "Conflict",
    "Continue",
    "DefinitionUnavailable",
    "Failure",
    "IdempotencyConflict",
    "InternalError",
    "InvalidArgument",
    "InvalidState",
    "InvalidWorkflow",
    "Job",
    "LeaseLost",
    "NotFound",
    "NotGranted",
    "PayloadRefused",
    "RunledgerError",
    "SyncJob",
    "Undecodable",
    "UnsupportedIsolation",
    "Workflow",
    "WorkflowFailed",
    "WorkflowResultNotDeclared",
    "WorkflowResultTimeout",
]
