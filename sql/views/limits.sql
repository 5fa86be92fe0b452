create or replace view runledger.limits with (security_barrier) as
  select l.name, l.value, l.unit, l.meaning
    from runledger._limits() as l;

comment on view runledger.limits is
  'Every limit of Runledger. Beyond it a call is refused with a code, never cut silently.';
comment on column runledger.limits.name is 'Name of the limit.';
comment on column runledger.limits.value is 'The largest value allowed.';
comment on column runledger.limits.unit is 'Unit of value.';
comment on column runledger.limits.meaning is 'What is limited.';
