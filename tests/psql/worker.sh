#!/usr/bin/env bash
# A worker in another language: bash and psql. It counts the words of each payload's "text".
#
#   PSQL=… DSN=… WORKER=name [LEASE=seconds] [HOLD=path] [ONCE=1] worker.sh
#
# While the file HOLD exists, a handler waits before it ends. ONCE: leave when there is nothing to do.
set -euo pipefail
: "${PSQL:=psql}" "${DSN:?}" "${WORKER:?}" "${LEASE:=60}" "${HOLD:=}" "${ONCE:=}"

# The SQL comes from stdin and values as psql variables, so that nothing is ever pasted into a statement.
sql() {
  "$PSQL" -X -q -A -t -F $'\t' -v ON_ERROR_STOP=1 -v worker="$WORKER" -v lease="$LEASE" "$@" -d "$DSN" -f -
}

claim() {
  sql <<< "select job_id, lease_token, encode(convert_to(payload::text, 'UTF8'), 'hex')
             from runledger.claim_jobs(:'worker', '{words.count}', 1, :lease);"
}

# Beats three times per lease until the handler is gone, or the lease is.
heartbeats() {
  local answer
  while kill -0 "$3" 2> /dev/null; do
    answer=$(sql -v job="$1" -v token="$2" <<< "select disposition from runledger.heartbeat_jobs(
      array[:'job'::uuid], array[:token::bigint], :lease);") || answer=unknown
    case $answer in LOST | CANCELED) return ;; esac
    sleep "$(awk "BEGIN { print $LEASE / 3 }")"
  done
}

work() {
  local text
  text=$(sql -v hex="$1" <<< "select convert_from(decode(:'hex', 'hex'), 'UTF8')::jsonb ->> 'text';")
  while [[ -n $HOLD && -e $HOLD ]]; do sleep 0.05; done
  [[ -n $text ]] && wc -w <<< "$text"
}

while true; do
  sql <<< "select count(*) from runledger.run_maintenance();" > /dev/null
  IFS=$'\t' read -r job token payload < <(claim) || {
    [[ -z $ONCE ]] || exit 0
    sleep 0.1
    continue
  }
  heartbeats "$job" "$token" $$ &
  beating=$!
  if words=$(work "$payload"); then
    end="succeed_job(:'job', :token, jsonb_build_object('words', :'words'::integer))"
  else
    words=0 end="fail_job(:'job', :token, 'words.no_text', 'the payload has no text', 'TERMINAL')"
  fi
  kill "$beating" 2> /dev/null || true
  # Refused when the lease is lost: then somebody else has the job, and it is not ours to end.
  sql -v job="$job" -v token="$token" -v words="$words" <<< "select (f).disposition from runledger.$end as f;" || true
done
