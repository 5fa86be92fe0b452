create or replace function runledger._cron_number(word text, lowest integer, names text[])
returns integer
language sql immutable parallel safe
as $$
  select case when _cron_number.word ~ '^[0-9]+$' then _cron_number.word::integer
              else _cron_number.lowest - 1 + array_position(_cron_number.names, _cron_number.word)
         end
$$;

comment on function runledger._cron_number(text, integer, text[]) is
  'A number or a name of a cron field as a number, NULL for an unknown name.';
