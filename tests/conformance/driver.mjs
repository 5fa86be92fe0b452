// A scenario by node and its driver pg: DSN=… node driver.mjs < scenario.json prints {name, wrong}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

// Modules installed beside the test, not beside this file.
const pg = createRequire(process.cwd() + "/")("pg");
const isNew = (value, known) => typeof value === "string" && value.startsWith("$") && !(value.slice(1) in known);
const same = (a, b) => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

function filled(value, known) {
  if (Array.isArray(value)) return value.map((item) => filled(item, known));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filled(item, known)]));
  }
  return typeof value === "string" && value.startsWith("$") ? (known[value.slice(1)] ?? value) : value;
}

// A text goes as it is, with its $names filled in; anything else as JSON.
function argument(value, known) {
  if (value === null) return null;
  if (typeof value !== "string") return JSON.stringify(filled(value, known));
  return Object.entries(known).reduce((text, [name, what]) => text.replaceAll(`$${name}`, String(what)), value);
}

async function call(db, step, known) {
  const given = Object.entries(step.with ?? {});
  const list = given.map(([name], at) => `${pg.escapeIdentifier(name)} => $${at + 1}`).join(", ");
  try {
    const values = given.map(([, value]) => argument(value, known));
    const { rows } = await db.query(`select to_jsonb(r) as r from runledger.${pg.escapeIdentifier(step.do)}(${list}) as r`, values);
    return rows.map((row) => row.r);
  } catch (error) {
    if (!error.code?.startsWith("RL")) throw error;
    return `${error.code} ${JSON.parse(error.detail).code}`;
  }
}

function judge(step, got, known) {
  if (typeof got === "string" || step.refused) return got === step.refused ? null : `expected ${step.refused ?? "rows"}, got ${JSON.stringify(got)}`;
  if (!step.gives) return null;
  if (got.length !== step.gives.length) return `expected ${step.gives.length} rows, got ${JSON.stringify(got)}`;
  const named = { ...known };
  for (const [at, expected] of step.gives.entries()) {
    for (const [field, value] of Object.entries(expected)) {
      const found = got[at][field] ?? null;
      if (value === "*" || isNew(value, named)) {
        if (found === null) return `${field} is null`;
        if (value !== "*") named[value.slice(1)] = found;
      } else if (!same(filled(value, named), found)) {
        return `${field}: expected ${JSON.stringify(filled(value, named))}, got ${JSON.stringify(found)}`;
      }
    }
  }
  Object.assign(known, named);
  return null;
}

async function play(dsn, steps) {
  const db = new pg.Client(dsn);
  await db.connect();
  const known = {};
  try {
    for (const [at, step] of steps.entries()) {
      const end = Date.now() + (step.until ? 10_000 : 0);
      let wrong;
      while ((wrong = judge(step, await call(db, step, known), known)) !== null && Date.now() < end) await sleep(50);
      if (wrong) return `step ${at + 1}, ${step.do}: ${wrong}`;
    }
  } finally {
    await db.end();
  }
  return null;
}

const { name, steps } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify({ name, wrong: await play(JSON.parse(process.env.DSN), steps) }));
