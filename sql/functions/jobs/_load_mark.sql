-- Where the last claim of this session left off. Under a snapshot that somebody holds, index
-- entries of claimed jobs cannot be removed and each claim would walk over all of them; so it
-- starts behind what it took last. The mark lives in a session setting: a row would bloat under
-- that same snapshot, and nothing but cost depends on it. It is good for one second and for the
-- same types; then, and whenever it yields less than was wanted, a claim looks from the very start.
create or replace function runledger._load_mark(scope text, now timestamptz)
returns runledger._mark
language plpgsql stable
as $$
declare
  v_mark runledger._mark;
begin
  v_mark := jsonb_populate_record(null::runledger._mark,
    nullif(current_setting('runledger.claim_mark', true), '')::jsonb);
  if v_mark.scope = _load_mark.scope
    and v_mark.looked_at > _load_mark.now - interval '1 second'
    and v_mark.looked_at <= _load_mark.now
    and cardinality(v_mark.priorities) = cardinality(v_mark.ids)
    and cardinality(v_mark.due_ats) = cardinality(v_mark.ids)
    and num_nonnulls(array_length(v_mark.priorities, 2), array_length(v_mark.due_ats, 2),
                     array_length(v_mark.ids, 2)) = 0 then
    return v_mark;
  end if;
  return null;
exception
  -- Whoever writes nonsense into the setting loses the shortcut, no more.
  when data_exception then return null;
end
$$;

comment on function runledger._load_mark(text, timestamptz) is
  'The mark of this session for these types, or NULL: then look from the start.';
