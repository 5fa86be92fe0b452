-- Once per step: psql has no loop, so the file includes itself.
select pg_temp.statement() as statement \gset
\set rows ''
:statement \gset
\set state :SQLSTATE
\set message :LAST_ERROR_MESSAGE
\if :ERROR
\else
\set state 00000
\endif
select pg_temp.next(:'rows', :'state', :'message') as more \gset
\if :more
\ir driver_step.sql
\endif
