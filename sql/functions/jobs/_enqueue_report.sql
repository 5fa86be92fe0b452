-- What became of each item of a batch. Keys are looked up in two branches: only a plain equality
-- uses the partial unique indexes.
create or replace function runledger._enqueue_report(
  items runledger._enqueue_item[], inserted uuid[])
returns runledger.enqueued_item[]
language plpgsql volatile
as $$
declare
  v_report runledger.enqueued_item[];
begin
  with new_job as materialized (
    select n.id from unnest(_enqueue_report.inserted) as n(id)
  ), item as materialized (
    select i.ordinal, i.id, i.job_type, i.organization_id, i.idempotency_key, i.request, i.code,
           n.id is not null as is_new
      from unnest(_enqueue_report.items) as i
      left join new_job as n on n.id = i.id
  ), held as (
    select i.ordinal, q.id, q.status, q.run_number, q.enqueue_request
      from item as i
      join runledger.job_queue as q on q.job_type = i.job_type
       and q.organization_id is null and q.idempotency_key = i.idempotency_key
     where i.code is null and not i.is_new and i.organization_id is null
    union all
    select i.ordinal, q.id, q.status, q.run_number, q.enqueue_request
      from item as i
      join runledger.job_queue as q on q.job_type = i.job_type
       and q.organization_id = i.organization_id and q.idempotency_key = i.idempotency_key
     where i.code is null and not i.is_new
  ), reported as (
    select row(i.ordinal, coalesce(h.id, case when i.is_new then i.id end), o.disposition,
             case when i.is_new then 'PENDING' else h.status::text end,
             case when i.is_new then 1 else h.run_number end,
             case o.disposition when 'CONFLICT' then 'job.idempotency_conflict'
               when 'INVALID' then coalesce(i.code, 'job.definition_not_found_or_disabled') end
           )::runledger.enqueued_item as line
      from item as i
      left join held as h on h.ordinal = i.ordinal
     cross join lateral (select case
             when i.is_new then 'INSERTED'
             when h.id is null then 'INVALID'
             when runledger._same_request(h.enqueue_request, i.request) then 'EXISTING'
             else 'CONFLICT' end) as o(disposition)
  )
  select coalesce(array_agg(r.line order by (r.line).ordinal), '{}') into v_report
    from reported as r;
  return v_report;
end
$$;

comment on function runledger._enqueue_report(runledger._enqueue_item[], uuid[]) is
  'One row per item of enqueue_jobs.';
