-- The worst ten of a list of types with seconds, worst first; words and fix are about the worst.
create or replace function runledger._health_types(
  code text, types jsonb, explanation text, fix text)
returns runledger.health_check
language sql stable
as $$
  select runledger._health_check(_health_types.code, s.seconds,
    format(_health_types.explanation, t.job_type, runledger._age(make_interval(
      secs => s.seconds::double precision)))
      || case when n.types > 1 then format(' So do those of %s more.', n.types - 1) else '' end,
    format(_health_types.fix, t.job_type),
    jsonb_build_object('types', n.types, 'worst', coalesce(jsonb_path_query_array(
      _health_types.types, '$[0 to 9]'), '[]')))
    from (select _health_types.types -> 0 ->> 'job_type') as t(job_type)
   cross join (select (_health_types.types -> 0 ->> 'seconds')::numeric) as s(seconds)
   cross join (select coalesce(jsonb_array_length(_health_types.types), 0)) as n(types)
$$;

comment on function runledger._health_types(text, jsonb, text, text) is
  'A row of health() about the worst of several job types.';
