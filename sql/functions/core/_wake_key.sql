-- Not md5: a server in FIPS mode refuses that. Of the name as UTF-8, which is what a listener has.
create or replace function runledger._wake_key(job_type text)
returns text
language sql immutable parallel safe
as $$
  select left(encode(sha256(convert_to(_wake_key.job_type, 'UTF8')), 'hex'), 16)
$$;

comment on function runledger._wake_key(text) is
  'What a wake-up for this type carries on the channel runledger_wake: a hash, never data.';
