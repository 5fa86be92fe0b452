-- Where the last claim of this session left off. Under a snapshot that somebody holds, index
-- entries of claimed jobs cannot be removed and each claim would walk over all of them; so it
-- starts behind what it took last. The mark lives in a session setting: a row would bloat under
-- that same snapshot, and nothing but cost depends on it. It is good for the same types and for one
-- second, or for twenty times as long as the look from the very start took: so that these looks
-- never take more than a twentieth of the time, however long somebody holds a snapshot. After that
-- it still knows the priorities, if that look was dear: looked_at is NULL then.
create or replace function runledger._load_mark(scope text, now timestamptz)
returns runledger._mark
language plpgsql stable
as $$
declare
  v_mark runledger._mark;
begin
  v_mark := jsonb_populate_record(null::runledger._mark,
    nullif(current_setting('runledger.claim_mark', true), '')::jsonb);
  v_mark.look_took := greatest(interval '0', least(v_mark.look_took, interval '3 seconds'));
  if v_mark.scope = _load_mark.scope
    and v_mark.looked_at <= _load_mark.now and v_mark.swept_at <= _load_mark.now
    and cardinality(v_mark.priorities) = cardinality(v_mark.ids)
    and cardinality(v_mark.due_ats) = cardinality(v_mark.ids)
    and num_nonnulls(array_length(v_mark.priorities, 2), array_length(v_mark.due_ats, 2),
                     array_length(v_mark.ids, 2)) = 0 then
    if v_mark.looked_at > _load_mark.now - greatest(v_mark.look_took * 20, '1 second') then
      return v_mark;
    elsif v_mark.look_took > '0' then
      v_mark.looked_at := null;
      return v_mark;
    end if;
  end if;
  return null;
exception
  -- Whoever writes nonsense into the setting loses the shortcut, no more.
  when data_exception then return null;
end
$$;

comment on function runledger._load_mark(text, timestamptz) is
  'The mark of this session for these types, or NULL: then look from the start.';
