-- What psql shows of a refusal: a constant message, a SQLSTATE to branch on, a code and safe values, what to do next.
\set QUIET on
\pset tuples_only on
\pset format unaligned
\set VERBOSITY terse

select job_id from runledger.enqueue_job('nobody');
\echo :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE
select count(*) from runledger.define_job('work');
select count(*) from runledger.claim_jobs('w', '{work}', 0);
\echo :LAST_ERROR_SQLSTATE
select disposition from runledger.enqueue_job('work', '{"secret": 1}', idempotency_key => 'k');
select disposition from runledger.enqueue_job('work', '{"secret": 2}', idempotency_key => 'k');
\echo :LAST_ERROR_SQLSTATE
select runledger.succeed_job('00000000-0000-0000-0000-000000000000', 1);
\echo :LAST_ERROR_SQLSTATE
select runledger.enqueue_job('work', '1e4300');
\echo :LAST_ERROR_SQLSTATE
begin isolation level serializable;
select count(*) from runledger.claim_jobs('w', '{work}');
rollback;
\echo :LAST_ERROR_SQLSTATE
select job_id, lease_token from runledger.claim_jobs('w', '{work}') \gset
select disposition from runledger.succeed_job(:'job_id', :lease_token);
select disposition from runledger.cancel_job(:'job_id');
\echo :LAST_ERROR_SQLSTATE
select count(*) from runledger.error_codes() where sqlstate = 'RL010' and hint is not null and code = 'job.invalid_limit';
\set VERBOSITY default
select disposition from runledger.enqueue_job('work', '{"secret": 2}', run_at => 'infinity');
