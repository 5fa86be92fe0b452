create or replace view runledger._dead_letters as
  select d.job_id, d.job_type, d.organization_id, d.run_number, d.attempt, d.error_code,
         d.error_message, d.failed_at, q.status::text as status,
         coalesce(q.run_number = d.run_number and q.status = 'DEAD_LETTERED', false) as is_dead
    from runledger.job_dead_letters as d
    left join runledger.job_queue as q on q.id = d.job_id;

comment on view runledger._dead_letters is
  'Dead letters in the shape of dead_letter. Internal: read the view dead_letters.';
