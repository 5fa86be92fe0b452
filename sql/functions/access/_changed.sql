create or replace function runledger._changed(old jsonb, new jsonb)
returns jsonb
language plpgsql immutable
as $$
begin
  return coalesce((
    select jsonb_object_agg(n.key, n.value)
      from jsonb_each(_changed.new) as n
     where n.value is distinct from _changed.old -> n.key), '{}');
end
$$;

comment on function runledger._changed(jsonb, jsonb) is
  'The fields of a new row that differ from the old one.';
