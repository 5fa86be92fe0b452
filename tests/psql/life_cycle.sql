-- The whole life of jobs, driven by psql alone. Works with -f and, in one transaction, with -1 -f.
-- life_cycle.out is what it prints.
\set QUIET on
\set ON_ERROR_STOP on
\pset tuples_only on
\pset format unaligned
\pset null -

\echo == define
select job_type, max_attempts, timeout_seconds, is_enabled
  from runledger.define_job('mail.send', max_attempts => 3, retry_delays_ms => '{"smtp.busy": 1}');
select job_type from runledger.define_job('mail.digest', priority => 500);
select value from runledger.limits where name = 'payload_bytes';

\echo == enqueue
select job_id, disposition as d, status from runledger.enqueue_job('mail.send', '{"to": "a"}', idempotency_key => 'welcome:1') \gset mail_
\echo :mail_d :mail_status
select disposition, job_id = :'mail_job_id' from runledger.enqueue_job('mail.send', '{"to": "a"}', idempotency_key => 'welcome:1');
select ordinal, disposition, coalesce(code, '')
  from runledger.enqueue_jobs('[{"job_type": "mail.digest"}, {"job_type": "mail.lost"}, {"job_type": "mail.send", "run_at": "tomorrow"}]');
select job_id from runledger.enqueue_job('mail.send', run_at => now() + interval '1 hour') \gset later_
select job_type, state, prio, try, note from runledger.jobs order by job_id;

\echo == claim: highest priority first, then oldest; the delayed one waits
select job_type, lease_token is not null, attempt, payload from runledger.claim_jobs('psql-1', '{mail.digest}', 5);
select job_id, lease_token from runledger.leased_jobs('psql-1') \gset digest_
select job_id, lease_token, job_type, attempt, payload from runledger.claim_jobs('psql-1', '{mail.send,mail.digest}', 5) \gset mail_
\echo :mail_job_type :mail_attempt :mail_payload
select count(*) from runledger.claim_jobs('psql-1', '{mail.send,mail.digest}', 5);
select job_type, worker from runledger.running_jobs order by job_type;

\echo == work: progress, heartbeat, log
select stage, progress_done, progress_total, progress_pct
  from runledger.report_progress(:'mail_job_id', :mail_lease_token, 1, 4, '{"rendered": true}', 'rendering');
select disposition from runledger.heartbeat_jobs(array[:'mail_job_id', :'digest_job_id']::uuid[], array[:mail_lease_token, :digest_lease_token]);
select disposition from runledger.heartbeat_jobs(array[:'mail_job_id']::uuid[], array[0::bigint]);
select runledger.log_job(:'mail_job_id', 'info', 'rendered', '{"bytes": 17}', :mail_lease_token) > 0;

\echo == fail, and again: due after the delay of its error code
select disposition, status, code from runledger.fail_job(:'mail_job_id', :mail_lease_token, 'smtp.busy', 'try later');
select disposition, replayed from runledger.fail_job(:'mail_job_id', :mail_lease_token, 'smtp.busy', 'try later');
select pg_sleep(0.01) \g /dev/null
select job_id, lease_token, attempt, checkpoint from runledger.claim_jobs('psql-1', '{mail.send}') \gset mail_
\echo :mail_attempt :mail_checkpoint

\echo == release: not charged
select disposition from runledger.release_job(:'mail_job_id', :mail_lease_token, 'lunch');
select job_id, lease_token, attempt from runledger.claim_jobs('psql-1', '{mail.send}') \gset mail_
\echo :mail_attempt

\echo == continue: a fresh run
select disposition from runledger.continue_job(:'mail_job_id', :mail_lease_token, done => 2);
select job_id, lease_token, run_number, attempt from runledger.claim_jobs('psql-1', '{mail.send}') \gset mail_
\echo :mail_run_number :mail_attempt

\echo == succeed
select disposition, replayed from runledger.succeed_job(:'mail_job_id', :mail_lease_token, '{"message_id": "m1"}', done => 4);
select disposition, replayed from runledger.succeed_job(:'mail_job_id', :mail_lease_token, '{"message_id": "m1"}', done => 4);
select status, output, progress_pct from runledger.get_job(:'mail_job_id');

\echo == finish a batch: a dead letter, a stale token, nonsense
select ordinal, disposition, code from runledger.finish_jobs(jsonb_build_array(
  jsonb_build_object('job_id', :'digest_job_id', 'lease_token', :digest_lease_token, 'outcome', 'FAILED',
    'kind', 'TERMINAL', 'error_code', 'digest.empty', 'error_message', 'nothing to send'),
  jsonb_build_object('job_id', :'mail_job_id', 'lease_token', 0, 'outcome', 'SUCCEEDED'), 'nonsense'::text));
select job_type, error_code from runledger.dead_letters;

\echo == correct, requeue, redrive
select disposition from runledger.correct_payload(:'later_job_id', '{"to": "b"}', 'typo');
select disposition, status, run_number from runledger.requeue_job(:'digest_job_id', 'mail is up again', expected_status => 'DEAD_LETTERED');
select job_id, lease_token from runledger.claim_jobs('psql-1', '{mail.digest}') \gset digest_
select disposition from runledger.fail_job(:'digest_job_id', :digest_lease_token, 'digest.empty', 'again', 'TERMINAL');
select disposition, run_number from runledger.redrive_dead_letters('all of them', error_code => 'digest.empty');

\echo == pause and resume
select is_paused, paused_reason from runledger.pause_job_type('mail.digest', 'maintenance');
select count(*) from runledger.claim_jobs('psql-1', '{mail.digest}');
select is_paused from runledger.resume_job_type('mail.digest');

\echo == cancel under way: quiet when the worker says so
select job_id, lease_token from runledger.claim_jobs('psql-1', '{mail.digest}') \gset digest_
select disposition, status, lease_quiesces_at > now() from runledger.cancel_job(:'digest_job_id', 'not needed');
select disposition from runledger.heartbeat_jobs(array[:'digest_job_id']::uuid[], array[:digest_lease_token]);
select disposition, code from runledger.finish_jobs(jsonb_build_array(jsonb_build_object(
  'job_id', :'digest_job_id', 'lease_token', :digest_lease_token, 'outcome', 'SUCCEEDED')));
select disposition, run_number from runledger.requeue_job(:'digest_job_id');

\echo == a worker that buffers and never starts is not charged; one that dies is
select job_id, lease_token from runledger.claim_jobs('psql-2', '{mail.digest}', 1, 1, prestart => true) \gset digest_
select pg_sleep(1.1) \g /dev/null
select disposition, attempt, code from runledger.reap_expired_leases();
select job_id, lease_token from runledger.claim_jobs('psql-2', '{mail.digest}', 1, 1, prestart => true) \gset digest_
select disposition from runledger.start_jobs(array[:'digest_job_id']::uuid[], array[:digest_lease_token]);
select pg_sleep(1.1) \g /dev/null
select disposition, attempt, worker_id, code from runledger.reap_expired_leases(retry_delay => '0');
select disposition, code from runledger.finish_jobs(jsonb_build_array(jsonb_build_object(
  'job_id', :'digest_job_id', 'lease_token', :digest_lease_token, 'outcome', 'SUCCEEDED')));

\echo == replay, and the end of the rest
select disposition from runledger.replay_job(:'mail_job_id', 'once more', 'customer asked');
select disposition from runledger.replay_job(:'mail_job_id', 'once more', 'customer asked');
select job_id, lease_token from runledger.claim_jobs('psql-1', '{mail.send,mail.digest}', 1) \gset digest_
select disposition from runledger.succeed_job(:'digest_job_id', :digest_lease_token);
select job_id, lease_token from runledger.claim_jobs('psql-1', '{mail.send,mail.digest}', 1) \gset again_
select disposition from runledger.succeed_job(:'again_job_id', :again_lease_token);
select disposition, status from runledger.cancel_job(:'later_job_id');
select disposition from runledger.redact_job(:'mail_job_id', 'erasure request');
select payload, output from runledger.job_payload(:'mail_job_id');

\echo == what happened to the first one
select run, try, event from runledger.job_timeline where job_id = :'mail_job_id';
select job_type, status, run_number, attempt from runledger.list_jobs() order by job_id;
select count(*) from runledger.fsck();
