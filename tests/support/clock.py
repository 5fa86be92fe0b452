"""Time travel: `runledger._now()` of the test's own database, moved by an offset that every session sees."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.support.database import Db


class Clock:
    def __init__(self, db: Db) -> None:
        self._db = db
        self.began: datetime | None = None
        db.execute("create table public.test_clock (shift interval not null, stopped timestamptz)")
        db.execute("insert into public.test_clock values ('0', null)")
        db.execute("grant select on public.test_clock to public")
        # Same owner, same volatility: replacing keeps the rest.
        volatility = db.value(
            "select case provolatile when 'v' then 'volatile' else 'stable' end"
            " from pg_proc where oid = 'runledger._now()'::regprocedure"
        )
        db.execute(
            "create or replace function runledger._now() returns timestamptz"
            f" language sql {volatility}"
            " as $$ select coalesce(c.stopped, clock_timestamp() + c.shift) from public.test_clock c $$"
        )

    def advance(self, by: timedelta | float) -> datetime:
        """Move every session's clock, by seconds or a timedelta, also backwards; return the time it shows then."""
        delta = by if isinstance(by, timedelta) else timedelta(seconds=by)
        self._db.execute("update public.test_clock set shift = shift + %(by)s, stopped = stopped + %(by)s", {"by": delta})
        return self.now()

    def stop(self) -> datetime:
        """From now on time passes by `advance` alone, so that a test can stand on an instant."""
        self._db.execute("update public.test_clock set stopped = runledger._now()")
        return self.now()

    def strike(self) -> datetime:
        """The same, on a full second: what is told to the second is then exact."""
        self._db.execute("update public.test_clock set stopped = date_trunc('second', runledger._now()) + interval '1 s'")
        self.began = self.now()
        return self.began

    def noon(self) -> datetime:
        """Go to noon of the day of the first partition: the template may be of yesterday, and this day end soon."""
        self._db.execute(
            "update public.test_clock set shift = day.at - clock_timestamp(), stopped = case when stopped is not null then day.at end"
            " from (select min(to_date(right(c.relname, 8), 'YYYYMMDD')) + time '12:00' at time zone 'UTC'"
            "   from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            "   where i.inhparent = 'runledger.job_events'::regclass and c.relname ~ '[0-9]{8}$') as day(at)"
        )
        self.began = self.now()
        return self.began

    def now(self) -> datetime:
        now: datetime = self._db.value("select runledger._now()")
        return now
