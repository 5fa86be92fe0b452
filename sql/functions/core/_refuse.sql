-- Strict: for nothing to refuse it is not even called.
create or replace function runledger._refuse(problem text)
returns void
language plpgsql volatile strict
as $$
begin
  perform runledger._raise(_refuse.problem);
end
$$;

comment on function runledger._refuse(text) is 'Raise the error of that code; nothing for NULL.';
