-- Exponential from the second step of the base (5 s: 10, 20, 40 ...), capped, with up to half a
-- second of jitter either way that is always the same for a job. The exponent is clamped before it
-- is used.
create or replace function runledger._retry_delay_ms(
  definition runledger.job_definitions, job_id uuid, attempt integer, error_code text)
returns bigint
language sql immutable parallel safe
as $$
  select coalesce(
    ((definition).retry_delays_ms -> error_code)::bigint,
    greatest(1000,
      least((definition).retry_base_ms * (1::bigint << least(greatest(attempt, 1), 10)),
            (definition).retry_max_ms)
      + ('x' || right(job_id::text, 7))::bit(28)::integer % 1001 - 500))
$$;

comment on function runledger._retry_delay_ms(runledger.job_definitions, uuid, integer, text) is
  'Milliseconds until the retry: the override of the error code, else the formula of the type.';
