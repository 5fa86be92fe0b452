// A worker in another language: node and its driver pg. It counts the words of each payload's "text".
//
//   DSN=… WORKER=name [LEASE=seconds] [HOLD=path] [ONCE=1] node worker.mjs
//
// It polls, and wakes early by LISTEN. While the file HOLD exists, a handler waits before it ends.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

// Modules installed beside the test, not beside this file.
const pg = createRequire(process.cwd() + "/")("pg");
// Lease tokens are 64 bits: as BigInt they survive.
pg.types.setTypeParser(20, BigInt);
const { DSN, WORKER, HOLD, ONCE } = process.env;
const lease = Number(process.env.LEASE ?? 60);
const db = new pg.Client(JSON.parse(DSN));
await db.connect();
const beats = new pg.Client(JSON.parse(DSN));
await beats.connect();
let wake = () => {};
db.on("notification", () => wake());
await db.query("listen runledger_wake");
await db.query("select runledger.register_worker($1, $2)", [WORKER, ["words.count"]]);

async function work(job) {
  while (HOLD && existsSync(HOLD)) await sleep(50);
  if (typeof job.payload?.text !== "string") throw new Error("the payload has no text");
  return { words: job.payload.text.split(/\s+/).filter(Boolean).length };
}

async function run(job) {
  const timer = setInterval(() => {
    beats
      .query("select * from runledger.heartbeat_jobs($1, $2, $3)", [[job.job_id], [job.lease_token], lease])
      .catch(() => {});
  }, (lease * 1000) / 3);
  let outcome;
  try {
    outcome = { outcome: "SUCCEEDED", output: await work(job) };
  } catch (error) {
    outcome = { outcome: "FAILED", kind: "TERMINAL", error_code: "words.no_text", error_message: error.message };
  }
  clearInterval(timer);
  // As text: a JSON number of 64 bits would not survive JSON.stringify.
  const item = JSON.stringify({ job_id: job.job_id, ...outcome });
  const { rows } = await db.query(
    "select disposition from runledger.finish_jobs(jsonb_build_array($1::jsonb || jsonb_build_object('lease_token', $2::bigint)))",
    [item, job.lease_token],
  );
  console.log(rows[0].disposition);
}

while (true) {
  await db.query("select count(*) from runledger.run_maintenance()");
  const { rows } = await db.query("select * from runledger.claim_jobs($1, $2, 10, $3)", [WORKER, ["words.count"], lease]);
  await Promise.all(rows.map(run));
  if (rows.length > 0) continue;
  if (ONCE) break;
  await db.query("select runledger.idle_worker($1, now() + interval '1 minute')", [WORKER]);
  await new Promise((resolve) => {
    wake = resolve;
    setTimeout(resolve, 200);
  });
}
await db.end();
await beats.end();
