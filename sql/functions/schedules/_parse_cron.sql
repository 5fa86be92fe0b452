-- A cron expression, parsed; raises for one that cannot be read or can never fire. Days and
-- weekdays are "or" when neither is a star (*/2 is none). Fields are folded in the C locale: in a
-- Turkish one FRI would not become fri.
create or replace function runledger._parse_cron(cron text)
returns runledger._cron
language plpgsql immutable parallel safe
as $$
declare
  v_text text;
  v_fields text[];
  v_masks bigint[] := '{}';
  v_names constant text[] := '{second,minute,hour,day,month,weekday}';
  v_lowest constant integer[] := '{0,0,0,1,1,0}';
  v_highest constant integer[] := '{59,59,23,31,12,7}';
begin
  if coalesce(octet_length(_parse_cron.cron) > runledger._limit('cron_bytes'), true) then
    perform runledger._raise('job_schedule.invalid_cron',
      jsonb_build_object('max_bytes', runledger._limit('cron_bytes')));
  end if;
  v_text := lower(_parse_cron.cron collate "C");
  v_text := case v_text
    when '@yearly' then '0 0 1 1 *' when '@annually' then '0 0 1 1 *'
    when '@monthly' then '0 0 1 * *' when '@weekly' then '0 0 * * 0'
    when '@daily' then '0 0 * * *' when '@midnight' then '0 0 * * *'
    when '@hourly' then '0 * * * *' else v_text end;
  v_fields := regexp_split_to_array(v_text, E'[ \t]+');
  if cardinality(v_fields) = 5 then
    v_fields := '0'::text || v_fields;
  elsif cardinality(v_fields) <> 6 then
    perform runledger._raise('job_schedule.invalid_cron',
      jsonb_build_object('fields', cardinality(v_fields)));
  end if;
  for v_n in 1..6 loop
    if v_n in (4, 6) and v_fields[v_n] = '?' then
      v_fields[v_n] := '*';
    end if;
    v_masks := v_masks || runledger._cron_field(v_fields[v_n], v_lowest[v_n], v_highest[v_n],
      case v_n when 5 then '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}'::text[]
               when 6 then '{sun,mon,tue,wed,thu,fri,sat}' end);
    if v_masks[v_n] is null then
      perform runledger._raise('job_schedule.invalid_cron',
        jsonb_build_object('field', v_names[v_n]));
    end if;
  end loop;
  -- A day that no chosen month has: 30 February, 31 of the short months.
  if v_fields[4] <> '*' and v_fields[6] = '*'
    and not exists (
      select from unnest('{31,29,31,30,31,30,31,31,30,31,30,31}'::integer[]) with ordinality
               as m(days, nth)
       where (v_masks[5] >> m.nth::integer) & 1 = 1
         and v_masks[4] % (1::bigint << m.days + 1) <> 0) then
    perform runledger._raise('job_schedule.cron_never_fires');
  end if;
  return row(v_masks[1], v_masks[2], v_masks[3]::integer, v_masks[4], v_masks[5]::integer,
    v_masks[6]::integer, v_fields[4] = '*', v_fields[6] = '*',
    position('*' in v_fields[2] || v_fields[3]) > 0)::runledger._cron;
end
$$;

comment on function runledger._parse_cron(text) is
  'A cron expression, parsed; raises job_schedule.invalid_cron or job_schedule.cron_never_fires.';
