-- Fire one by one, each on its own: a schedule that cannot fire is put off for half a minute with
-- its cursor where it was, and keeps none of the others. At most 24 subtransactions a call, the
-- failed first try included: beyond 64 every reader of the server pays.
create or replace function runledger._fire_apart(
  schedules runledger.job_schedules[], now timestamptz)
returns setof runledger.fired_schedule
language plpgsql volatile
as $$
declare
  v_schedule runledger.job_schedules;
  v_until constant timestamptz := _fire_apart.now + interval '30 seconds';
  v_code text;
  v_detail text;
begin
  foreach v_schedule in array _fire_apart.schedules[1:11] loop
    begin
      return query
      select f.* from runledger._fire_schedules(array[v_schedule], _fire_apart.now) as f;
    exception when others then
      if left(sqlstate, 2) in ('53', '57', 'XX') then
        raise;
      end if;
      get stacked diagnostics v_detail = pg_exception_detail;
      v_code := case when sqlstate like 'RL%' then v_detail::jsonb ->> 'code' else sqlstate end;
      begin
        update runledger.job_schedules as s
           set deferred_at = _fire_apart.now, deferred_until = v_until, deferred_code = v_code,
               updated_at = _fire_apart.now
         where s.id = v_schedule.id;
      exception when others then
        if left(sqlstate, 2) in ('53', '57', 'XX') then
          raise;
        end if;
      end;
      return next row(v_schedule.name, null, null, v_schedule.next_fire_at, v_until, 'DEFERRED',
        v_code)::runledger.fired_schedule;
    end;
  end loop;
end
$$;

comment on function runledger._fire_apart(runledger.job_schedules[], timestamptz) is
  'Fire up to 11 schedules one by one; those that cannot fire come back as DEFERRED.';
