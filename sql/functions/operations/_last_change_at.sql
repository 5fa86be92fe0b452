-- For fsck: an instant from which on the events of a job must say what its row says. updated_at is
-- none, it moves with things that are no change of state.
create or replace function runledger._last_change_at(job runledger.job_queue)
returns timestamptz
language plpgsql stable
as $$
begin
  return coalesce((_last_change_at.job).finished_at, (
    select max(case when (_last_change_at.job).status = 'LEASED' then a.leased_at
                    else a.finished_at end)
      from runledger.job_attempts as a
     where a.job_id = (_last_change_at.job).id), (_last_change_at.job).created_at);
end
$$;

comment on function runledger._last_change_at(runledger.job_queue) is
  'When the status of a job last changed, as far as its row and its attempts tell.';
