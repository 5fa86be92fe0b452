-- W15: at most one run holds an active key; a live run with a key holds it; and a finished run that
-- still holds one has a canceled lease whose end will give it back. Keys are never shown.
create or replace function runledger._fsck_run_keys(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_run_keys.workflow_run_id;
begin
  return query
  with holder as (
    select r.id, r.status, r.finished_at, r.active_key_held, r.active_key is not null as has_key,
           row_number() over (partition by r.active_key_held, r.organization_id, r.active_key
             order by r.finished_at nulls first, r.id) as nth,
           not bool_or(r.active_key_held) over (
             partition by r.organization_id, r.active_key) as is_free,
           exists (select from runledger.job_queue as q
                    where q.workflow_run_id = r.id and q.lease_token is not null) as has_lease
      from runledger.workflow_runs as r
     where r.active_key is not null or r.active_key_held
  )
  select 'W15', 'ERROR', 'workflow run ' || h.id, jsonb_build_object('status', h.status,
           'held', h.active_key_held, 'has_key', h.has_key, 'has_lease', h.has_lease,
           'nth_holder', h.nth, 'violations', count(*) over ()),
         format('update runledger.workflow_runs set %s where id = %L',
           case when h.active_key_held and h.finished_at is not null then 'active_key_held = false'
                when h.is_free then 'active_key_held = true'
                else 'active_key_held = false, active_key = null' end, h.id)
    from holder as h
   where (v_run is null or h.id = v_run)
     and ((h.active_key_held and (h.nth > 1 or not h.has_key))
          or (h.active_key_held and h.finished_at is not null and not h.has_lease)
          or (not h.active_key_held and h.finished_at is null))
   order by h.id limit _fsck_run_keys.max_rows;
end
$$;

comment on function runledger._fsck_run_keys(uuid, integer) is
  'Invariant W15: active keys.';
