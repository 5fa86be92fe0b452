create or replace function runledger._refuse(problem text)
returns void
language plpgsql volatile
as $$
begin
  if _refuse.problem is not null then
    perform runledger._raise(_refuse.problem);
  end if;
end
$$;

comment on function runledger._refuse(text) is 'Raise the error of that code; nothing for NULL.';
