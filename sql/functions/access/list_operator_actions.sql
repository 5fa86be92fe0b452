-- What operators did, newest first. Page by giving the last id as before_action_id.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination.
create or replace function runledger.list_operator_actions(
  role_name text default null, action text default null, object text default null,
  before_action_id bigint default null, max_rows integer default 100)
returns setof runledger.operator_action
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._check_count(
    list_operator_actions.max_rows, 'max_rows', 'job.invalid_pagination');
  return query
  select a.id, a.role_name, a.action, a.object, a.reason, a.detail, a.occurred_at
    from runledger.operator_actions as a
   where a.id < coalesce(list_operator_actions.before_action_id, 9223372036854775807)
     and a.role_name = coalesce(list_operator_actions.role_name, a.role_name)
     and a.action = coalesce(list_operator_actions.action, a.action)
     and (list_operator_actions.object is null or a.object = list_operator_actions.object)
   order by a.id desc
   limit list_operator_actions.max_rows;
end
$$;

comment on function runledger.list_operator_actions(text, text, text, bigint, integer) is
  'What operators did: role, action (the function), object, reason, detail and time, newest first. '
  'For the next page give the last id as before_action_id. At most 1000 rows a page.';
