create or replace function runledger._as_uuid(value jsonb)
returns uuid
language sql immutable parallel safe
as $$
  select case
    when jsonb_typeof(_as_uuid.value) = 'string' and _as_uuid.value #>> '{}'
      ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
    then (_as_uuid.value #>> '{}')::uuid end
$$;

comment on function runledger._as_uuid(jsonb) is 'A uuid out of a batch item, NULL if it is none.';
