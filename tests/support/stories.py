"""Ledgers that are corrupted on purpose: a story told twice, and the guards out of the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.support.ledger import Ledger


@dataclass(frozen=True)
class Stories:
    """The same story told twice: what befalls a row of the first befalls its twin of the second, too."""

    q: Ledger
    tables: tuple[str, ...]
    first: Mapping[str, Any]
    second: Mapping[str, Any]
    last_event: int = 0

    @property
    def names(self) -> dict[str, str]:
        """Ids in words: job DONE of the first story, DONE' of the second."""
        return {str(i): name.upper() for name, i in self.first.items()} | {
            str(i): name.upper() + "'" for name, i in self.second.items()
        }

    def assert_sound(self, change: str) -> None:
        """That this befalls both stories is nothing that fsck finds; it is taken back."""
        with self.q.conn.transaction(force_rollback=True):
            drop_guards(self.q.conn, self.tables)
            for story in (self.second, self.first):
                self.q.conn.execute(change.format(**story))
            for scope in ("full", "fast"):
                found = self.q.rows("fsck", scope=scope)
                assert [(f["invariant"], f["object"], f["detail"]) for f in found] == [], scope


def drop_guards(conn: psycopg.Connection[Any], tables: tuple[str, ...]) -> str:
    """Drop the constraints and unique indexes that would refuse a corruption; returns how to put them back."""
    guards = conn.execute(
        """
        with guarded as (select ('runledger.' || t)::regclass as oid from unnest(%s::text[]) as t)
        select format('alter table %%s drop constraint %%I', conrelid::regclass, conname),
               format('alter table %%s add constraint %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(oid)),
               contype = 'f' as last
          from pg_constraint where contype in ('c', 'f', 'u') and conrelid in (select g.oid from guarded as g)
        union all
        select format('drop index %%s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid), false
          from pg_index as i where i.indisunique and i.indrelid in (select g.oid from guarded as g)
           and not exists (select from pg_constraint as k where k.conindid = i.indexrelid)
         order by last desc""",
        [list(tables)],
    ).fetchall()
    assert len(guards) > 20
    conn.execute("; ".join(drop for drop, _, _ in guards))
    return "; ".join(back for _, back, _ in reversed(guards))
