-- The scenarios by psql alone:
--
--   psql -X -v scenario="$(cat one.json)" -f driver.sql
--
-- prints "ok", or what is wrong. psql makes each call itself, as a statement of its own; functions of
-- the session only write the statement and judge what came back.
\set QUIET on
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
\pset tuples_only on
\pset format unaligned

create temp table play as
select 1 as at, '{}'::jsonb as known, s -> 'steps' as steps, null::text as wrong, clock_timestamp() as since
  from (select :'scenario'::jsonb) as x(s);

-- Every "$name" that is known, for its value.
create function pg_temp.filled(value jsonb, known jsonb) returns jsonb language sql as $$
  select case jsonb_typeof(value)
    when 'object' then (select coalesce(jsonb_object_agg(e.key, pg_temp.filled(e.value, known)), '{}') from jsonb_each(value) as e)
    when 'array' then (select coalesce(jsonb_agg(pg_temp.filled(e.value, known) order by e.nth), '[]')
                         from jsonb_array_elements(value) with ordinality as e(value, nth))
    when 'string' then case when value #>> '{}' like '$%' then coalesce(known -> substr(value #>> '{}', 2), value) else value end
    else value end
$$;

-- A text goes as it is, with its $names filled in; anything else as JSON.
create function pg_temp.argument(value jsonb, known jsonb) returns text language plpgsql as $$
declare
  v_text text := value #>> '{}';
  v_name text;
begin
  if jsonb_typeof(value) <> 'string' then
    return nullif(pg_temp.filled(value, known)::text, 'null');
  end if;
  for v_name in select jsonb_object_keys(known) loop
    v_text := replace(v_text, '$' || v_name, known ->> v_name);
  end loop;
  return v_text;
end
$$;

create function pg_temp.statement() returns text language sql as $$
  select format('select coalesce(jsonb_agg(to_jsonb(r)), ''[]'')::text as rows from runledger.%I(%s) as r', s.step ->> 'do',
    (select string_agg(format('%I => %L', e.key, pg_temp.argument(e.value, p.known)), ', ')
       from jsonb_each(coalesce(s.step -> 'with', '{}')) as e))
  from play as p, lateral (select p.steps -> p.at - 1 as step) as s
$$;

-- Compare with what the step expects; what it names is known from then on.
create function pg_temp.judge(step jsonb, rows jsonb, refusal text, inout known jsonb, out wrong text) language plpgsql as $$
declare
  v_row record;
begin
  if refusal is not null or step ? 'refused' then
    if refusal is distinct from step ->> 'refused' then
      wrong := format('expected %s, got %s', coalesce(step ->> 'refused', 'rows'), coalesce(refusal, rows::text));
    end if;
    return;
  end if;
  if jsonb_array_length(rows) <> jsonb_array_length(step -> 'gives') then
    wrong := format('expected %s rows, got %s', jsonb_array_length(step -> 'gives'), rows);
    return;
  end if;
  for v_row in
    select e.key as field, e.value as expected, rows -> (g.nth - 1)::integer -> e.key as found
      from jsonb_array_elements(step -> 'gives') with ordinality as g(value, nth), jsonb_each(g.value) as e
     order by g.nth
  loop
    if v_row.expected = '"*"' or (v_row.expected #>> '{}' like '$%' and not known ? substr(v_row.expected #>> '{}', 2)) then
      if coalesce(v_row.found, 'null') = 'null' then
        wrong := v_row.field || ' is null';
        return;
      elsif v_row.expected <> '"*"' then
        known := known || jsonb_build_object(substr(v_row.expected #>> '{}', 2), v_row.found);
      end if;
    elsif pg_temp.filled(v_row.expected, known) is distinct from v_row.found then
      wrong := format('%s: expected %s, got %s', v_row.field, pg_temp.filled(v_row.expected, known), v_row.found);
      return;
    end if;
  end loop;
end
$$;

-- One step done: on to the next one, or once more if it says "until" and ten seconds have not passed.
create function pg_temp.next(rows text, state text, message text) returns boolean language plpgsql as $$
declare
  v play;
  v_step jsonb;
  v_refusal text := case when state <> '00000' then state || ' ' || coalesce((
    select e.code from runledger.error_codes() as e where e.sqlstate = state and e.message = next.message), message) end;
  v_known jsonb;
  v_wrong text;
begin
  select * into v from play;
  v_step := v.steps -> v.at - 1;
  select j.known, j.wrong into v_known, v_wrong from pg_temp.judge(v_step, nullif(rows, '')::jsonb, v_refusal, v.known) as j;
  if v_wrong is null then
    update play set at = v.at + 1, known = v_known, since = clock_timestamp();
    return v.at < jsonb_array_length(v.steps);
  elsif v_step ? 'until' and clock_timestamp() < v.since + interval '10 seconds' then
    perform pg_sleep(0.1);
    return true;
  end if;
  update play set wrong = format('step %s, %s: %s', v.at, v_step ->> 'do', v_wrong);
  return false;
end
$$;

\ir driver_step.sql
select coalesce(wrong, 'ok') from play;
