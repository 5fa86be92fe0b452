create or replace function runledger._check_replay(request_key text, reason text)
returns void
language plpgsql stable
as $$
begin
  perform runledger._require_read_committed('job.replay_unsupported_isolation');
  if octet_length(_check_replay.request_key) > runledger._limit('key_bytes') then
    perform runledger._raise('job.replay_request_key_too_long');
  elsif not runledger._is_name(_check_replay.request_key, runledger._limit('key_bytes')) then
    perform runledger._raise('job.replay_request_key_blank');
  elsif coalesce(_check_replay.reason, '') !~ '[^[:space:]]' then
    perform runledger._raise('job.replay_reason_blank');
  end if;
  perform runledger._check_reason(_check_replay.reason, true);
end
$$;

comment on function runledger._check_replay(text, text) is
  'Raise unless these are proper arguments of a replay.';
