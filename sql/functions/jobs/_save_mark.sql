create or replace function runledger._save_mark(scope text, mark runledger._mark)
returns void
language plpgsql volatile
as $$
declare
  v_mark runledger._mark := _save_mark.mark;
begin
  v_mark.scope := _save_mark.scope;
  perform set_config('runledger.claim_mark', to_jsonb(v_mark)::text, false);
end
$$;

comment on function runledger._save_mark(text, runledger._mark) is
  'Remember for this session where this claim left off, per priority.';
