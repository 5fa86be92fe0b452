-- A run that is to go is marked first, and shown by no function from then on: a large one is taken
-- away in pieces over many calls. Its keys are free at once. A run with a dead-lettered job is kept
-- as long as the longer of the two ages.
create or replace function runledger._prune_runs(caller text, max_rows bigint, now timestamptz)
returns bigint
language plpgsql volatile
as $$
declare
  v_looks constant bigint := runledger._limit('prune_looks') / 10;
  v_pass runledger.prune_passes;
  v_jobs timestamptz;
  v_dead timestamptz;
  v_last uuid;
  v_ids uuid[];
  v_rows bigint;
begin
  select p.* into strict v_pass
    from runledger.prune_passes as p where p.caller = _prune_runs.caller;
  if v_pass.after_run_id is null then
    return 0;
  end if;
  v_jobs := runledger._prune_horizon(v_pass.older_than, _prune_runs.now);
  v_dead := least(v_jobs,
    runledger._prune_horizon(v_pass.dead_letters_older_than, _prune_runs.now));
  -- Those begun by an earlier call first.
  v_rows := runledger._erase_runs(_prune_runs.caller, v_jobs, _prune_runs.max_rows);
  if v_rows >= _prune_runs.max_rows then
    return v_rows;
  end if;
  with looked as materialized (
    select r.id, r.steps_total, r.pruned_at is null and r.finished_at < v_jobs as is_old
      from runledger.workflow_runs as r
     where r.id > v_pass.after_run_id
       and r.id < runledger._uuid_floor(v_jobs + interval '1 hour')
     order by r.id limit v_looks
  ), summed as (
    select l.id, l.is_old, row_number() over (order by l.id) as nth, count(*) over () as looks,
           sum(l.steps_total) filter (where l.is_old) over (order by l.id) as steps
      from looked as l
  ), taken as (
    select s.id, s.is_old, s.looks from summed as s
     where s.nth = 1 or coalesce(s.steps, 0) <= _prune_runs.max_rows
  )
  select array_agg(t.id order by t.id) filter (where t.is_old), case
           when count(*) = v_looks or count(*) < max(t.looks)
             then (array_agg(t.id order by t.id desc))[1] end
    into v_ids, v_last
    from taken as t;
  perform runledger._mark_runs(v_ids, v_jobs, v_dead, _prune_runs.now);
  v_rows := v_rows + runledger._erase_runs(
    _prune_runs.caller, v_jobs, _prune_runs.max_rows - v_rows);
  -- All were looked at, but of what is marked there may be more: come again and look no further.
  if v_last is null and v_rows >= _prune_runs.max_rows then
    v_last := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  end if;
  update runledger.prune_passes as p
     set after_run_id = v_last where p.caller = _prune_runs.caller;
  return v_rows;
end
$$;

comment on function runledger._prune_runs(text, bigint, timestamptz) is
  'Look at the next runs of a pass and take away those that are old enough; returns how many rows '
  'went.';
