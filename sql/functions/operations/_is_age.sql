-- A month less 29 days is more than nothing to a comparison, which gives every month 30 days, and
-- in February it points into the future: such an age is none.
create or replace function runledger._is_age(age interval)
returns boolean
language sql immutable parallel safe
as $$
  select _is_age.age >= '0'
    and _is_age.age <= make_interval(days => runledger._limit('horizon_days')::integer)
    and least(extract(year from _is_age.age), extract(month from _is_age.age),
              extract(day from _is_age.age), extract(hour from _is_age.age),
              extract(minute from _is_age.age), extract(second from _is_age.age)) >= 0
$$;

comment on function runledger._is_age(interval) is
  'How long something may be kept: not negative in any part, and not longer than the horizon.';
