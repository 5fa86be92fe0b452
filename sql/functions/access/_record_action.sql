-- The one writer of operator_actions. detail holds names, counts and settings, never a payload or a
-- key.
create or replace function runledger._record_action(
  action text, object text, reason text default null, detail jsonb default '{}')
returns void
language plpgsql volatile
as $$
begin
  insert into runledger.operator_actions (role_name, action, object, reason, detail, occurred_at)
  values (runledger._caller(), _record_action.action, _record_action.object,
          _record_action.reason, _record_action.detail, runledger._now());
end
$$;

comment on function runledger._record_action(text, text, text, jsonb) is
  'Record what an operator did, in the transaction in which it is done.';
