-- J12: JSON that every reader can read. Asked of the detoasted value: of a compressed one the
-- guard would see the stored size only. A live job is canceled, so that its body stays to be
-- looked at; of a finished one the bodies are erased.
create or replace function runledger._fsck_bodies(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  return query
  select 'J12', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status, 'body', b.name,
           'problem', b.problem, 'violations', count(*) over ()),
         format(case when q.finished_at is null
           then 'select * from runledger.cancel_job(%L, ''fsck J12'')'
           else 'select * from runledger.redact_job(%L, ''fsck J12'')' end, q.id)
    from runledger._fsck_scope(true, _fsck_bodies.workflow_run_id) as q
   cross join lateral (values
     ('payload', runledger._json_problem(q.payload #> '{}', runledger._limit('payload_bytes'))),
     ('checkpoint', case when q.checkpoint is not null then
       runledger._json_problem(q.checkpoint #> '{}', runledger._limit('payload_bytes')) end),
     ('output', case when q.output is not null then
       runledger._json_problem(q.output #> '{}', runledger._limit('payload_bytes')) end)
     ) as b(name, problem)
   where b.problem is not null
   order by q.id, b.name limit _fsck_bodies.max_rows;
end
$$;

comment on function runledger._fsck_bodies(uuid, integer) is
  'Invariant J12: payload, checkpoint and output within their limits.';
