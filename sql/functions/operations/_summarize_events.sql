-- Tell job_events_id_idx what stands in the pages that these events have filled: pages it knows
-- nothing of are read by everybody who follows the log. Only ranges that are full, because each
-- further event in a summarised range would write to the index. Vacuum does it as well, and may be
-- in the way: then it is left to it.
create or replace function runledger._summarize_events(above bigint, upto bigint)
returns void
language plpgsql volatile
as $$
declare
  v_before constant text := current_setting('lock_timeout');
  v_pages constant integer := 16;
  v_range record;
begin
  if v_before = '0' or v_before::interval > interval '200 ms' then
    perform set_config('lock_timeout', '200ms', true);
  end if;
  begin
    for v_range in
      with filled as materialized (
        select e.tableoid as partition, (min(e.ctid)::text::point)[0]::bigint as first_block,
               (max(e.ctid)::text::point)[0]::bigint as last_block
          from runledger.job_events as e
         where e.id > _summarize_events.above and e.id <= _summarize_events.upto
         group by e.tableoid
      )
      select i.indexrelid as index, b.block
        from filled as f
       cross join lateral generate_series(f.first_block / v_pages * v_pages, f.last_block, v_pages)
          as b(block)
        join pg_index as i on i.indrelid = f.partition
        join pg_inherits as h on h.inhrelid = i.indexrelid
       where h.inhparent = 'runledger.job_events_id_idx'::regclass
         and pg_relation_size(f.partition)
             > (b.block + v_pages) * current_setting('block_size')::bigint
    loop
      perform brin_summarize_range(v_range.index, v_range.block);
    end loop;
  exception when lock_not_available then
    null;
  end;
  perform set_config('lock_timeout', v_before, true);
end
$$;

comment on function runledger._summarize_events(bigint, bigint) is
  'Summarise the full page ranges that hold these events, unless somebody is in the way.';
