create or replace function runledger._save_mark(
  mark runledger._mark, before runledger._mark, nth integer)
returns void
language plpgsql volatile
as $$
declare
  v_mark runledger._mark := _save_mark.mark;
  v_before constant runledger._mark := _save_mark.before;
begin
  v_mark.priorities := v_mark.priorities || v_before.priorities[_save_mark.nth:];
  v_mark.due_ats := v_mark.due_ats || v_before.due_ats[_save_mark.nth:];
  v_mark.ids := v_mark.ids || v_before.ids[_save_mark.nth:];
  perform set_config('runledger.claim_mark', to_jsonb(v_mark)::text, false);
end
$$;

comment on function runledger._save_mark(runledger._mark, runledger._mark, integer) is
  'Remember where this claim left off, per priority; below that what the mark before had from its '
  'nth priority on.';
