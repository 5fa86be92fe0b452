-- lock_timeout is set to the smaller of ours and the caller's, and put back: a function-level SET
-- would replace a stricter value.
create or replace function runledger._try_partitions()
returns bigint
language plpgsql volatile
as $$
declare
  v_before constant text := current_setting('lock_timeout');
  v_created bigint := 0;
begin
  if v_before = '0' or v_before::interval > interval '200 ms' then
    perform set_config('lock_timeout', '200ms', true);
  end if;
  begin
    select count(*) into v_created from runledger._ensure_partitions();
  exception when lock_not_available or duplicate_table then
    v_created := 0;
  end;
  perform set_config('lock_timeout', v_before, true);
  return v_created;
end
$$;

comment on function runledger._try_partitions() is
  'Create missing partitions unless somebody is in the way; returns how many.';
