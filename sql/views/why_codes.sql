-- A table of constants and no function call: whoever may read a view need not be allowed to call an
-- internal.
create or replace view runledger.why_codes with (security_barrier) as
  select c.code, c.tells_of, c.meaning
    from (values
      ('why.type_unknown', 'job', 'its type is not defined'),
      ('why.type_paused', 'job', 'its type is paused: by whom, since when, why'),
      ('why.not_due', 'job', 'it was enqueued for later'),
      ('why.retry_wait', 'job', 'it failed and waits for its next attempt'),
      ('why.release_wait', 'job', 'a worker gave it back with a delay'),
      ('why.continuation_wait', 'job', 'its handler asked to go on later'),
      ('why.no_worker', 'job', 'no worker is registered for its type'),
      ('why.workers_silent', 'job', 'workers are registered for its type, none is heard of'),
      ('why.workers_unregistered', 'job', 'only workers that did not register hold jobs of it'),
      ('why.row_locked', 'job', 'an open transaction has locked it'),
      ('why.type_limit', 'job', 'max_concurrency of its type is reached: who has the slots'),
      ('why.type_limit_locked', 'job', 'an open transaction keeps the lock of a limited type'),
      ('why.workers_busy', 'job', 'all slots of its workers are taken'),
      ('why.behind', 'job', 'ready jobs come before it: how many'),
      ('why.ready', 'job', 'it comes next, and a worker has a free slot'),
      ('why.not_picked_up', 'job', 'due for a minute, next in turn, and no free worker took it'),
      ('why.type_disabled', 'job', 'its type takes no new jobs; that does not hold this one up'),
      ('why.claimed', 'job', 'a worker has claimed it and not started it yet'),
      ('why.running', 'job', 'a worker runs it: since when, how far, until when'),
      ('why.over_timeout', 'job', 'a worker runs it for longer than it may take'),
      ('why.lease_expired', 'job', 'its worker is gone and nobody has taken it back yet'),
      ('why.canceled_stopping', 'job', 'canceled; its handler may still be at work'),
      ('why.canceled', 'job', 'canceled: why'),
      ('why.dead_lettered', 'job', 'it failed for good: with what'),
      ('why.succeeded', 'job', 'it is done'),
      ('why.gate_waiting', 'step', 'a gate that nobody has completed: until when, and what then'),
      ('why.gate_overdue', 'step', 'a gate whose time is over, and no upkeep has ended it'),
      ('why.step_blocked', 'step', 'it waits for other steps: which, and what moves first'),
      ('why.step_open', 'step', 'it has an open job: why tells of it'),
      ('why.step_unsatisfied', 'step', 'canceled, as a step it needs did not succeed: which'),
      ('why.step_born_unsatisfied', 'step', 'the same, and that had ended when it was appended'),
      ('why.step_failed', 'step', 'its job or gate failed: with what'),
      ('why.step_canceled', 'step', 'its job, its gate or the run was canceled'),
      ('why.step_succeeded', 'step', 'it is done'),
      ('why.more_steps', 'run', 'it has more steps than are told of'),
      ('why.run_locked', 'run', 'an open transaction has locked it: no step can finish'),
      ('why.run_failed', 'run', 'it ended, not all of it well'),
      ('why.run_canceled', 'run', 'it was canceled: why'),
      ('why.run_succeeded', 'run', 'it is done')
    ) as c(code, tells_of, meaning);

comment on view runledger.why_codes is 'Every code of why and why_workflow.';
comment on column runledger.why_codes.code is 'The code; it keeps its meaning.';
comment on column runledger.why_codes.tells_of is 'A job, a step, or a run.';
comment on column runledger.why_codes.meaning is 'What it says.';
