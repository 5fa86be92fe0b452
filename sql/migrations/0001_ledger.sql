-- 0001: the schema itself and the two tables in which `runledger migrate` keeps its books.
-- Lock: none to speak of, everything is new. A squatted schema fails loudly: no "if not exists".
create schema runledger;
comment on schema runledger is
  'Runledger: a durable job queue and workflow engine. Read the views, call the functions, write '
  'to no table by hand. \df runledger.[a-z]* lists what may be called.';

create table runledger._migrations (
  number          integer     primary key,
  name            text        not null,
  sha256          text        not null,
  package_version text        not null,
  applied_at      timestamptz not null default clock_timestamp(),
  applied_by      text        not null default session_user,
  elapsed_ms      integer     not null,
  constraint a_migration_number_is_positive check (number > 0)
);
comment on table runledger._migrations is
  'One row per applied file of sql/migrations, in order. Append-only; written by runledger '
  'migrate.';
comment on column runledger._migrations.number is 'The NNNN of the file name; contiguous from 1.';
comment on column runledger._migrations.name is 'The file name.';
comment on column runledger._migrations.sha256 is
  'Checksum of the file as applied, line ends normalised to \n.';
comment on column runledger._migrations.package_version is
  'Version of the package that applied it.';
comment on column runledger._migrations.applied_at is 'When it was applied.';
comment on column runledger._migrations.applied_by is 'The login role that applied it.';
comment on column runledger._migrations.elapsed_ms is 'How long it ran, in milliseconds.';

create table runledger._shelves (
  id              bigint      generated always as identity primary key,
  sha256          text        not null,
  contract        integer     not null,
  package_version text        not null,
  manifest        jsonb       not null,
  applied_at      timestamptz not null default clock_timestamp(),
  applied_by      text        not null default session_user
);
comment on table runledger._shelves is
  'One row each time the functions and views were put in place as a set; the last row is in '
  'force.';
comment on column runledger._shelves.id is 'Order of application.';
comment on column runledger._shelves.sha256 is
  'Checksum over retired.sql, functions, views and grants.';
comment on column runledger._shelves.contract is
  'Rises only with a breaking change of the SQL contract.';
comment on column runledger._shelves.package_version is 'Version of the package that applied it.';
comment on column runledger._shelves.manifest is
  'What was there afterwards: functions with a checksum of each, views, indexes and constraints. '
  'health() compares it with what is there now.';
comment on column runledger._shelves.applied_at is 'When it was applied.';
comment on column runledger._shelves.applied_by is 'The login role that applied it.';
