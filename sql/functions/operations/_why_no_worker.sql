-- Registering is not asked of anybody, so the absence of a worker is never certain: the words say
-- so.
create or replace function runledger._why_no_worker(
  job runledger._job_case, handlers runledger._handler[], now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_type constant text := (_why_no_worker.job).job_type;
  v_seen record;
begin
  select count(*) filter (where h.is_registered) as registered,
         count(*) filter (where h.is_registered and h.is_live) as live,
         count(*) filter (where not h.is_registered) as strangers,
         max(h.worker_id) filter (where not h.is_registered) as stranger,
         max(h.heard_at) filter (where h.is_registered) as heard_at,
         (array_agg(h.worker_id order by h.heard_at desc)
           filter (where h.is_registered))[1] as last_worker
    into v_seen
    from unnest(_why_no_worker.handlers) as h;
  if v_seen.live > 0 then
    return;
  end if;
  return query
  select null::integer, case when v_seen.strangers > 0 then 'why.workers_unregistered'
                 when v_seen.registered > 0 then 'why.workers_silent'
                 else 'why.no_worker' end,
         case when v_seen.strangers > 0
           then format('No live worker is registered for the type %s, but %s held by workers that'
             ' never registered for it (%s, for example). Whether they take this one too cannot be'
             ' seen from here.', runledger._one_line(v_type),
             case when v_seen.strangers = 1 then 'a job of it is' else 'jobs of it are' end,
             runledger._one_line(v_seen.stranger))
         when v_seen.registered > 0
           then format('%s registered for the type %s, and none was heard of for 3 minutes; the'
             ' last was %s, at %s. Look whether its process is alive, or start another one:'
             ' runledger worker MODULE:APP.',
             case when v_seen.registered = 1 then 'One worker is'
                  else v_seen.registered || ' workers are' end, runledger._one_line(v_type),
             runledger._one_line(v_seen.last_worker),
             runledger._when(v_seen.heard_at, _why_no_worker.now))
         else format('No worker is registered for the type %s. Start one that handles it: runledger'
             ' worker MODULE:APP. Who claims without registering (by psql, for example) does not'
             ' show here and may still come.', runledger._one_line(v_type)) end
         || ' Meanwhile the statement takes a job of this type by hand.',
         runledger._by_hand(v_type);
end
$$;

comment on function runledger._why_no_worker(
  runledger._job_case, runledger._handler[], timestamptz) is
  'Whether no live worker is known to handle the type of a job.';
