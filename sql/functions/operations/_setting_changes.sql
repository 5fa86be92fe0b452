-- Payloads do not belong into reports.
create or replace function runledger._setting_changes(old jsonb, new jsonb)
returns jsonb
language sql stable
as $$
  select coalesce(jsonb_object_agg(n.key,
           case when n.key in ('payload', 'steps') then '{}'
                else jsonb_build_object('old', o.value, 'new', n.value) end), '{}')
    from jsonb_each(_setting_changes.new) as n
    join jsonb_each(_setting_changes.old) as o on o.key = n.key
   where n.value <> o.value
$$;

comment on function runledger._setting_changes(jsonb, jsonb) is
  'The settings that differ, with old and new value; of payload and steps the name alone.';
