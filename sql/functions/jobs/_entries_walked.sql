create or replace function runledger._entries_walked()
returns bigint
language sql volatile
as $$
  select coalesce(pg_stat_get_xact_tuples_returned(to_regclass('runledger.job_queue_claim_idx')), 0)
       + coalesce(pg_stat_get_xact_tuples_returned(to_regclass('runledger.job_queue_lane_idx')), 0)
$$;

comment on function runledger._entries_walked() is
  'How many entries of the indexes of pending jobs this transaction has met, those of rows that '
  'are gone included.';
