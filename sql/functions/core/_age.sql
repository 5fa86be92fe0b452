create or replace function runledger._age(span interval)
returns text
language sql immutable parallel safe
as $$
  select case
    when span < '1 second' then round(extract(epoch from span) * 1000) || ' ms'
    when span < '2 minutes' then round(extract(epoch from span), 1) || ' s'
    when span < '2 hours' then round(extract(epoch from span) / 60) || ' min'
    when span < '2 days' then round(extract(epoch from span) / 3600) || ' h'
    else round(extract(epoch from span) / 86400) || ' d' end
$$;

comment on function runledger._age(interval) is 'A length of time in one short number and unit.';
