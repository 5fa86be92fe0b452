create or replace function runledger._one_line(value text)
returns text
language sql immutable parallel safe
as $$
  select runledger._cut(regexp_replace(_one_line.value, '[[:cntrl:]]+', ' ', 'g'), 300)
$$;

comment on function runledger._one_line(text) is
  'Foreign words within a sentence: one line, and not a long one.';
