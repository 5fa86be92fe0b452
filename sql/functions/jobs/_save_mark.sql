create or replace function runledger._save_mark(mark runledger._mark)
returns void
language plpgsql volatile
as $$
begin
  perform set_config('runledger.claim_mark', to_jsonb(_save_mark.mark)::text, false);
end
$$;

comment on function runledger._save_mark(runledger._mark) is
  'Remember where this claim left off, per priority.';
