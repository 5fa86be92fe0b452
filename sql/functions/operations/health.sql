-- Is it well, and what is about to hurt: one row per check, always, the worst first. Reads indexes
-- and catalogs only, so it costs the same at any number of jobs; works on a standby, too, where
-- what only a primary knows (timeline, notifications) counts as well. Bounds: _health_bounds().
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing.
create or replace function runledger.health()
returns setof runledger.health_check
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := runledger._now();
begin
  return query
  with checked as (
    select h.* from runledger._health_queue(v_now) as h
    union all select h.* from runledger._health_leases(v_now) as h
    union all select h.* from runledger._health_workers(v_now) as h
    union all select h.* from runledger._health_schedules(v_now) as h
    union all select h.* from runledger._health_upkeep(v_now) as h
    union all select h.* from runledger._health_server(v_now) as h
    union all select h.* from runledger._health_schema() as h
  )
  select c.code, c.level, c.value, c.unit, c.explanation,
         c.fix || case when c.fix like 'runledger %' then '' else ';' end, c.detail
    from checked as c
    join (select b.code, row_number() over () as nth
            from runledger._health_bounds() as b) as b on b.code = c.code
   order by array_position(array['CRIT', 'WARN', 'OK'], c.level), b.nth;
end
$$;

comment on function runledger.health() is
  'One row per check, always, the worst first: level OK, WARN or CRIT; value in unit, measured '
  'against detail.warn and detail.crit; explanation in plain words; fix: the statement (or the '
  'command, if it begins with runledger) to run about it, NULL if all is well. Cheap at any number '
  'of jobs, and works on a standby.';
