-- 0005: who works here, and what the upkeep remembers.
-- Lock: none to speak of, everything is new.
create table runledger.workers (
  worker_id     text        primary key,
  job_types     text[]      not null,
  max_jobs      integer     not null,
  metadata      jsonb       not null default '{}',
  role_name     text        not null,
  registered_at timestamptz not null,
  last_seen_at  timestamptz not null,
  idle_until    timestamptz,
  constraint a_worker_id_is_not_blank check (worker_id ~ '[^[:space:]]'),
  constraint a_worker_id_has_at_most_200_bytes check (octet_length(worker_id) <= 200),
  constraint max_jobs_is_positive check (max_jobs > 0)
) with (
  -- Few rows, often updated: the whole table should stay a page or two.
  fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200,
  autovacuum_vacuum_cost_delay = 0
);
comment on table runledger.workers is
  'The workers that said they are here. Only a help for wake-ups and for people: claiming asks '
  'nobody to register.';
comment on column runledger.workers.worker_id is 'The name under which it claims.';
comment on column runledger.workers.job_types is 'The types it handles.';
comment on column runledger.workers.max_jobs is 'How many jobs it runs at once.';
comment on column runledger.workers.metadata is
  'Host, process, version: what the worker says of itself.';
comment on column runledger.workers.role_name is 'The role it registered as.';
comment on column runledger.workers.registered_at is 'When it came.';
comment on column runledger.workers.last_seen_at is 'When it last said anything.';
comment on column runledger.workers.idle_until is
  'It wants to be woken until then; in the past or NULL: it is busy or gone.';

create table runledger.upkeep_state (
  only_row        boolean     primary key default true,
  timeline        text        not null,
  timeline_since  timestamptz not null,
  tokens_lifted   bigint      not null default 0,
  constraint there_is_one_row check (only_row)
);
comment on table runledger.upkeep_state is
  'What maintenance remembers from one pass to the next; one row.';
comment on column runledger.upkeep_state.only_row is 'Always true: holds the table to one row.';
comment on column runledger.upkeep_state.timeline is
  'The WAL timeline last seen. Another one means a fail-over: sequences may have gone back.';
comment on column runledger.upkeep_state.timeline_since is 'When that timeline was first seen.';
comment on column runledger.upkeep_state.tokens_lifted is
  'How often the token sequence was lifted past a fail-over.';
