// graphile-worker, as its documentation has it, and with the settings that it recommends for throughput.
// Usage: graphile.mjs plain|batched TASKS URL
import { makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const [mode, count, connectionString] = process.argv.slice(2);
const tasks = Number(count);
const batched = { worker: { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } };
const pgPool = new pg.Pool({ connectionString, max: 20 });
const quiet = { error: console.error, warning() {}, info() {}, debug() {} };
const { Logger } = await import("graphile-worker");
const logger = new Logger(() => (level, message) => quiet[level]?.(message));

const utils = await makeWorkerUtils({ pgPool, logger });
await utils.migrate();

async function left() {
    const { rows } = await pgPool.query("SELECT count(*)::int AS left FROM graphile_worker.jobs");
    return rows[0].left;
}

async function untilEmpty() {
    while ((await left()) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
}

const start = () =>
    run({ pgPool, logger, concurrency: 8, noHandleSignals: true, taskList: { noop: async () => {} }, preset: mode === "batched" ? batched : {} });

for (let sent = 0; sent < tasks; sent += 1000) {
    await utils.addJobs(Array.from({ length: Math.min(1000, tasks - sent) }, () => ({ identifier: "noop", payload: {} })));
}
let begun = performance.now();
let runner = await start();
await untilEmpty();
const drain = tasks / ((performance.now() - begun) / 1000);

let next = 0;
const some = Math.floor(tasks / 5);
begun = performance.now();
await Promise.all(
    Array.from({ length: 8 }, async () => {
        while (next++ < some) await utils.addJob("noop", {});
    }),
);
await untilEmpty();
const endToEnd = some / ((performance.now() - begun) / 1000);
await runner.stop();
await utils.release();
await pgPool.end();
console.log(`graphile-worker, ${mode}`.padEnd(32), drain.toFixed(0).padStart(12), endToEnd.toFixed(0).padStart(12));
