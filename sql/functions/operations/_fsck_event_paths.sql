-- E1, E3: the events of a job are a legal path that ends where the job stands. HEARTBEAT, PROGRESS,
-- STAGE_CHANGED, PAYLOAD_CORRECTED and REDACTED change no state. Where history begins, the path of
-- an older job begins with whatever comes first; a minute's grace, since the instants of two events
-- may stand in the other order than the events, and the id of a job, which tells the age of one
-- that is gone, is made after its first event read the clock.
create or replace function runledger._fsck_event_paths(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_begin constant timestamptz := coalesce((runledger.retention()).history_begins_at, '-infinity');
  v_whole constant timestamptz := v_begin + interval '1 minute';
begin
  return query
  with step as materialized (
    select e.job_id, e.id, e.run_number, e.attempt, e.event_type::text as kind,
           lag(e.event_type::text) over w as previous, lead(e.event_type::text) over w as next,
           coalesce(lag(e.occurred_at) over w, '-infinity') as previous_at
      from runledger.job_events as e
     where e.occurred_at >= v_begin and e.event_type not in
           ('HEARTBEAT', 'PROGRESS', 'STAGE_CHANGED', 'PAYLOAD_CORRECTED', 'REDACTED')
    window w as (partition by e.job_id order by e.id)
  ), wrong as (
    select 'E1' as invariant, s.job_id, s.id, jsonb_build_object('event_id', s.id,
             'event_type', s.kind, 'previous', s.previous, 'next', s.next) as facts
      from step as s
      left join runledger.job_queue as q on q.id = s.job_id
     where ((s.kind = 'FAILED' and s.next is null)
        or not case coalesce(s.previous, 'NONE')
          when 'NONE' then s.kind = 'ENQUEUED'
          when 'ENQUEUED' then s.kind in ('LEASED', 'CANCELED')
          when 'RETRY_SCHEDULED' then s.kind in ('LEASED', 'CANCELED')
          when 'REQUEUED' then s.kind in ('LEASED', 'CANCELED')
          when 'LEASED' then s.kind in ('SUCCEEDED', 'FAILED', 'CANCELED', 'REQUEUED')
          when 'FAILED' then s.kind in ('RETRY_SCHEDULED', 'DEAD_LETTERED')
          when 'DEAD_LETTERED' then s.kind = 'REQUEUED'
          when 'CANCELED' then s.kind = 'REQUEUED'
          else false end)
       and (s.previous_at >= v_whole
            or q.created_at >= v_begin
            or (q.id is null and runledger._uuid_time(s.job_id) >= v_whole))
    union all
    select 'E3', q.id, s.id, jsonb_build_object('status', q.status, 'run_number', q.run_number,
             'attempt', q.attempt, 'last_event', s.kind, 'event_run_number', s.run_number,
             'event_attempt', s.attempt)
      from runledger.job_queue as q
      left join step as s on s.job_id = q.id and s.next is null
     where case when q.status = 'PENDING'
             then coalesce(s.kind, '') not in ('ENQUEUED', 'RETRY_SCHEDULED', 'REQUEUED')
             else q.status::text is distinct from s.kind
               or (q.status <> 'CANCELED'
                   and (q.run_number, q.attempt) is distinct from (s.run_number, s.attempt)) end
       and (s.id is not null or q.created_at >= v_begin
            or runledger._last_change_at(q) >= v_whole)
  ), counted as (
    select w.*, count(*) over (partition by w.invariant) as violations,
           row_number() over (partition by w.invariant order by w.job_id, w.id) as nth
      from wrong as w
     where _fsck_event_paths.workflow_run_id is null or exists (
             select from runledger.job_queue as q
              where q.id = w.job_id and q.workflow_run_id = _fsck_event_paths.workflow_run_id)
  )
  select c.invariant, 'ERROR', 'job ' || c.job_id,
         c.facts || jsonb_build_object('violations', c.violations),
         runledger._fsck_look(c.job_id)
    from counted as c
   where c.nth <= _fsck_event_paths.max_rows
   order by c.invariant, c.nth;
end
$$;

comment on function runledger._fsck_event_paths(uuid, integer) is
  'Invariants E1 and E3: the path of a job through its states.';
