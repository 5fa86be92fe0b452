-- No statement starts a worker. This takes one job into the hands of whoever asks; prestart, so
-- that it costs no attempt unless start_jobs is called too.
create or replace function runledger._by_hand(job_type text)
returns text
language sql immutable parallel safe
as $$
  select format('select job_id, lease_token, payload from runledger.claim_jobs(''by-hand'','
                ' array[%L], 1, 300, prestart => true);', _by_hand.job_type)
$$;

comment on function runledger._by_hand(text) is
  'The statement that takes a job of this type by hand for five minutes.';
