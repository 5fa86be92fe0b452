-- One job through finish_jobs, raising where the batch reports. Arguments left out (NULL) are left
-- out of the item; the JSON bodies stay as they are.
create or replace function runledger._finish_one(
  item jsonb, output jsonb default null, checkpoint jsonb default null)
returns runledger.finished_job
language plpgsql volatile
as $$
declare
  v_result runledger.finished_job;
begin
  perform runledger._checked_json(_finish_one.output, runledger._limit('payload_bytes'), 'output');
  perform runledger._checked_json(
    _finish_one.checkpoint, runledger._limit('payload_bytes'), 'checkpoint');
  select f.* into v_result
    from runledger.finish_jobs(jsonb_build_array(jsonb_strip_nulls(_finish_one.item)
      || jsonb_build_object('output', _finish_one.output,
        'checkpoint', _finish_one.checkpoint))) as f;
  if v_result.disposition in ('LEASE_LOST', 'INVALID') then
    perform runledger._raise(v_result.code, jsonb_build_object(
      'job_id', v_result.job_id, 'status', v_result.status));
  end if;
  return v_result;
end
$$;

comment on function runledger._finish_one(jsonb, jsonb, jsonb) is
  'finish_jobs for one outcome; LEASE_LOST and INVALID raise.';
