create or replace function runledger._wake_key(job_type text)
returns text
language sql immutable parallel safe
as $$
  select substr(md5(_wake_key.job_type), 1, 16)
$$;

comment on function runledger._wake_key(text) is
  'What a wake-up for this type carries on the channel runledger_wake: a hash, never data.';
