create or replace function runledger._is_uncounted(before timestamptz)
returns boolean
language plpgsql stable
as $$
declare
  v_counted constant bigint := runledger._rolled_up_to();
begin
  return exists (
    select from runledger.job_events as e
     where e.id > v_counted and e.occurred_at < _is_uncounted.before);
end
$$;

comment on function runledger._is_uncounted(timestamptz) is
  'Whether events of before then are not in the metrics yet: neither they nor their jobs may go.';
