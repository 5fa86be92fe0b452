create or replace function runledger._health_check(
  code text, value numeric, explanation text, fix text, detail jsonb default '{}')
returns runledger.health_check
language sql stable
as $$
  select row(b.code, l.level, round(_health_check.value, 1), b.unit,
             case when l.level = 'OK' then b.fine else _health_check.explanation end,
             case when l.level <> 'OK' then _health_check.fix end,
             coalesce(_health_check.detail, '{}')
               || jsonb_build_object('warn', b.warn, 'crit', b.crit))::runledger.health_check
    from runledger._health_bounds() as b
   cross join lateral (select case when _health_check.value >= b.crit then 'CRIT'
           when _health_check.value >= b.warn then 'WARN' else 'OK' end as level) as l
   where b.code = _health_check.code
$$;

comment on function runledger._health_check(text, numeric, text, text, jsonb) is
  'One row of health(), measured against its bounds. explanation and fix are for the case that it '
  'is not well; no value is well.';
