create or replace view runledger.schedules with (security_barrier) as
  select s.name, coalesce(s.job_type, s.workflow_type || ' (workflow)') as starts, s.cron_expr,
         s.timezone,
         runledger._schedule_state(s.is_active, s.paused_at, s.deferred_at, s.due_at,
           statement_timestamp()) as state,
         case when not s.is_active then null
              when abs(extract(epoch from t.due_in)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.due_in))::integer)
              else date_trunc('day', t.due_in) end as due_in,
         case when abs(extract(epoch from t.fired_ago)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.fired_ago))::integer)
              else date_trunc('day', t.fired_ago) end as fired_ago,
         left(translate(case when not s.is_active then s.paused_reason else s.deferred_code end,
           E'\r\n\t', '   '), 40) as note
    from runledger.job_schedules as s
   cross join lateral (select s.due_at - statement_timestamp() as due_in,
                              statement_timestamp() - s.last_fired_at as fired_ago) as t
   order by s.name;

comment on view runledger.schedules is
  'Every schedule, one line each. What comes: preview_schedule(). Everything: job_schedules.';
comment on column runledger.schedules.name is 'Its name.';
comment on column runledger.schedules.starts is 'The job type or workflow that it starts.';
comment on column runledger.schedules.cron_expr is 'Its cron expression.';
comment on column runledger.schedules.timezone is 'The zone in which that is read.';
comment on column runledger.schedules.state is
  'active; paused by an operator; inactive: defined so; deferred: it could not fire, see note; '
  'overdue: by five minutes, nobody fires schedules.';
comment on column runledger.schedules.due_in is 'How long until it is due; negative: that overdue.';
comment on column runledger.schedules.fired_ago is 'Since it last fired.';
comment on column runledger.schedules.note is 'Why it is paused, or why it is deferred. Cut.';
