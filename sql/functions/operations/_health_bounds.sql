-- Every bound of health(), once. A check is WARN from warn on and CRIT from crit on; NULL: never.
create or replace function runledger._health_bounds()
returns table (code text, warn numeric, crit numeric, unit text, fine text)
language sql immutable parallel safe
as $$
  values
  ('queue.ready_age', 300::numeric, 3600::numeric, 'seconds',
   'No job that may run has been waiting for long.'),
  ('queue.no_worker', 60, 600, 'seconds',
   'Every type with ready jobs is handled by a live worker.'),
  ('queue.paused', 0, 86400, 'seconds', 'No ready job waits for a paused type.'),
  ('lease.expired', 60, 900, 'seconds', 'Expired leases are reaped in time.'),
  ('lease.overrun', 60, 3600, 'seconds', 'No running job is beyond its timeout.'),
  ('worker.silent', 1, null, 'workers', 'Every registered worker was heard of lately.'),
  ('worker.silent_holder', 1, null, 'workers', 'Every worker with live leases sends heartbeats.'),
  ('schedule.lag', 60, 300, 'seconds', 'No active schedule is overdue.'),
  ('schedule.deferred', 0, 3600, 'seconds', 'No active schedule fails to fire.'),
  ('gate.overdue', 60, 900, 'seconds', 'Gates time out in time.'),
  ('upkeep.maintenance', 300, 3600, 'seconds', 'run_maintenance() is called.'),
  ('upkeep.timeline', 1, 1, 'changes', 'The WAL timeline is the known one.'),
  ('upkeep.tokens', 1, 1, 'tokens', 'Lease tokens rise.'),
  ('upkeep.partitions', 3, 6, 'partitions',
   'The partitions of the coming three days are there, but perhaps those of the last.'),
  ('upkeep.default_rows', 1, null, 'rows',
   'Every event and log line is in the partition of its day.'),
  ('upkeep.retention', 86400, 604800, 'seconds', 'What is too old is deleted in time.'),
  ('server.dead_rows', 200000, 2000000, 'rows', 'Vacuum keeps up.'),
  ('server.autovacuum', 1, null, 'settings', 'Autovacuum works for all our tables.'),
  ('server.snapshot', 600, 3600, 'seconds',
   'No transaction of this database has been open for long.'),
  ('server.horizon', 1000000, 10000000, 'transactions',
   'Nothing old keeps vacuum from removing dead rows.'),
  ('server.notify', 25, 50, 'percent', 'The notification queue moves on.'),
  ('schema.indexes', 1, null, 'indexes', 'Every index is valid.'),
  ('schema.constraints', 1, null, 'constraints', 'Every constraint is validated.'),
  ('schema.drift', 1, null, 'objects',
   'Functions, views, indexes and constraints are as installed.')
$$;

comment on function runledger._health_bounds() is
  'The checks of health() in their order: from where on they warn, and what they say when all is '
  'well.';
