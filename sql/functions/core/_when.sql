-- Stable and not immutable: the offset is that of the session.
create or replace function runledger._when(at timestamptz, now timestamptz)
returns text
language sql stable parallel safe
as $$
  select to_char(_when.at, 'YYYY-MM-DD HH24:MI:SSOF') || case
    when _when.at > _when.now then ' (in ' || runledger._age(_when.at - _when.now) || ')'
    else ' (' || runledger._age(_when.now - _when.at) || ' ago)' end
$$;

comment on function runledger._when(timestamptz, timestamptz) is
  'An instant to read, with how far it is from now.';
