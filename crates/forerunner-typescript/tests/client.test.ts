/** The client against a server that answers as a node does. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type IncomingHttpHeaders, createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { ApiError, Client, type ClientOptions, TaskFailed, Unreachable } from "../src/index.js";

type Request = { method: string; path: string; headers: IncomingHttpHeaders; body: any };
/** A status and its content; `undefined` closes the connection without an answer. */
type Answer = [number, unknown] | undefined;

/** Answers each request with the next of the answers. Returns what came. */
async function withNode(
  answers: Answer[],
  use: (client: Client) => Promise<void>,
  options: ClientOptions = {},
): Promise<Request[]> {
  const requests: Request[] = [];
  const server = createServer(async (request, answer) => {
    let text = "";
    for await (const piece of request) text += piece;
    const { method = "", url: path = "", headers } = request;
    requests.push({ method, path, headers, body: text ? JSON.parse(text) : undefined });
    const next = answers.shift();
    if (!next) return void request.socket.destroy();
    answer.writeHead(next[0]).end(typeof next[1] === "string" ? next[1] : JSON.stringify(next[1]));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await use(new Client({ server: address, retryForS: 5, ...options }));
  } finally {
    server.closeAllConnections();
    server.close();
  }
  return requests;
}

async function all(source: AsyncIterable<unknown>): Promise<unknown[]> {
  const found = [];
  for await (const item of source) found.push(item);
  return found;
}

const FULL = { type: "/problems/queue-full", status: 429, detail: "try later", retry_after_s: 0.01 };
const DONE = { id: "t1", state: "succeeded", output: 42 };
const END = { seq: 3, event: "state", state: "succeeded" };
const sse = (...events: { seq: number; event: string }[]) =>
  `: heartbeat\n\n${events.map((event) => `id: ${event.seq}\ndata: ${JSON.stringify(event)}\n\n`).join("")}`;

test("a submission is repeated with its key until the queue has room", async () => {
  const answers: Answer[] = [undefined, [429, FULL], [503, "<html>"], [202, { id: "t1", state: "queued" }]];
  const requests = await withNode(
    answers,
    async (client) => assert.equal((await client.submit("my pool", { n: 1 }, { context: "c" })).id, "t1"),
    { token: "secret" },
  );
  assert.equal(new Set(requests.map((request) => request.headers["idempotency-key"])).size, 1);
  const last = requests.at(-1);
  assert.equal(last?.path, "/v1/pools/my%20pool/tasks");
  assert.deepEqual(last?.body, { input: { n: 1 }, context: "c" });
  assert.equal(last?.headers.authorization, "Bearer secret");
});

test("a call that is not safe to repeat is sent once unless it was rejected", async () => {
  const answers: Answer[] = [[429, FULL], [503, { type: "/problems/store-unavailable" }]];
  const requests = await withNode(answers, async (client) => {
    const expected = (error: unknown) => error instanceof ApiError && error.kind === "store-unavailable";
    await assert.rejects(client.runSchedule("nightly"), expected);
  });
  assert.equal(requests.length, 2);
});

test("other problems are thrown at once", async () => {
  const problem = { type: "/problems/no-pool", detail: "there is no pool `x`" };
  await withNode([[404, problem]], async (client) =>
    assert.rejects(client.submit("x", 1), { message: "404 no-pool: there is no pool `x`" }),
  );
});

test("a result is waited for and a failure is an error", async () => {
  const dead = { id: "t1", state: "dead", error: { kind: "agent_error", message: "no" } };
  const running = { id: "t1", state: "running" };
  const answers: Answer[] = [[202, { id: "t1" }], [200, { ...running, state: "waiting" }], [200, DONE], [200, dead]];
  const requests = await withNode([...answers, [200, running]], async (client) => {
    assert.equal(await client.run("p", 1), 42);
    await assert.rejects(client.result("t1"), TaskFailed);
    await assert.rejects(client.result("t1", { waitS: 0 }), { name: "TimeoutError" });
  });
  assert.equal(requests[1]?.headers.prefer, "wait=30");
});

test("a batch is completed when the queue has room", async () => {
  const full = { status: 429, problem: FULL };
  const bad = { status: 400, problem: { type: "/problems/unknown-field" } };
  const accepted = ["a", "c"].map((id) => ({ status: 202, task: { id } }));
  const answers: Answer[] = [[200, { results: [accepted[0], bad, full] }], [200, { results: [accepted[1]] }]];
  const requests = await withNode(answers, async (client) => {
    const results = await client.submitMany("p", [{ input: 1 }, { input: 2 }, { input: 3 }]);
    assert.deepEqual(results, [accepted[0], bad, accepted[1]]);
  });
  const key = requests[0]?.body.tasks[2].idempotency_key;
  assert.deepEqual(requests[1]?.body.tasks, [{ input: 3, idempotency_key: key }]);
});

test("events go on where the connection broke", async () => {
  const first = { seq: 1, event: "output", chunk: "a" };
  const second = { seq: 2, event: "output", chunk: "ü" };
  const requests = await withNode([[200, sse(first)], [200, sse(second, END)]], async (client) =>
    assert.deepEqual(await all(client.events("t1")), [first, second, END]),
  );
  assert.equal(requests[1]?.headers["last-event-id"], "1");
});

test("pages follow their cursor", async () => {
  const requests = await withNode([[200, { tasks: [1], next: "n" }], [200, { tasks: [2] }]], async (client) =>
    assert.deepEqual(await all(client.tasks({ state: ["dead", "failed"] })), [1, 2]),
  );
  assert.deepEqual(
    requests.map((request) => request.path),
    ["/v1/tasks?state=dead&state=failed", "/v1/tasks?state=dead&state=failed&cursor=n"],
  );
});

test("a token file is read for each call", async () => {
  const directory = await mkdtemp(join(tmpdir(), "forerunner-"));
  const tokenFile = join(directory, "token");
  const use = async (client: Client) => {
    for (const token of ["one", "two"]) {
      await writeFile(tokenFile, `${token}\n`);
      await client.get("t1");
    }
  };
  const requests = await withNode([[200, DONE], [200, DONE]], use, { tokenFile });
  await rm(directory, { recursive: true });
  assert.deepEqual(requests.map((request) => request.headers.authorization), ["Bearer one", "Bearer two"]);
});

test("a signal ends a call, and a node that is away has a remedy", async () => {
  const away = { server: "http://127.0.0.1:9" };
  await assert.rejects(new Client({ ...away, retryForS: 0 }).get("t1"), Unreachable);
  const signal = AbortSignal.timeout(50);
  await assert.rejects(new Client(away).get("t1", { signal }), { name: /AbortError|TimeoutError/ });
  assert.throws(() => new Client({ server: "localhost:7077" }), /http:\/\/127\.0\.0\.1:7077/);
  assert.throws(() => new Client({ token: "a", tokenFile: "b" }), /one of them/);
});

test("an answer goes to the question that is open, and a trace is passed on", async () => {
  const waits = { id: "t1", state: "waiting", requests: [{ id: "r1", answer: 1 }, { id: "r2" }] };
  const log = { lines: [{ text: "x" }], dropped: 2 };
  const answers: Answer[] = [[200, waits], [429, FULL], [202, waits], [202, waits], [200, { id: "t1" }], [202, waits], [200, log]];
  const requests = await withNode(answers, async (client) => {
    await client.answer("t1", "allow");
    await client.answer("t1", { a: 1 }, { request: "r1" });
    await assert.rejects(client.answer("t1", "allow"), /asks nothing/);
    await client.submit("p", 1, { traceparent: "00-a-b-01" });
    assert.deepEqual(await client.logs("t1"), log);
  });
  assert.deepEqual(requests[2]?.body, { request: "r2", answer: "allow" });
  assert.deepEqual([requests[3]?.path, requests[3]?.body], ["/v1/tasks/t1:answer", { request: "r1", answer: { a: 1 } }]);
  assert.deepEqual([requests[5]?.headers["traceparent"], requests[6]?.path], ["00-a-b-01", "/v1/tasks/t1/logs"]);
});

test("an authority of one's own is trusted, and the token may be in a file that the environment names", async () => {
  const directory = await mkdtemp(join(tmpdir(), "tls-"));
  const [cert, key, file] = ["cert.pem", "key.pem", "token"].map((name) => join(directory, name)) as [string, string, string];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync("openssl", ["req", "-x509", ...kind, ...names, "-keyout", key, "-out", cert], { stdio: "pipe" });
  await writeFile(file, "from the file\n");
  const seen: (string | undefined)[] = [];
  const server = createTlsServer({ cert: await readFile(cert), key: await readFile(key) }, async (request, answer) => {
    let text = "";
    for await (const piece of request) text += piece;
    seen.push(request.headers.authorization);
    answer.writeHead(text ? 429 : 200).end(JSON.stringify(text ? { ...FULL, detail: text } : { id: "t1" }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.env["FORERUNNER_TOKEN_FILE"] = file;
  try {
    await assert.rejects(new Client({ server: address, retryForS: 0 }).get("t1"), Unreachable);
    const client = new Client({ server: address, cacert: cert, retryForS: 0 });
    assert.equal((await client.get("t1")).id, "t1");
    await assert.rejects(client.submit("p", "body"), /"input":"body"/);
    assert.deepEqual(seen, ["Bearer from the file", "Bearer from the file"]);
    assert.throws(() => new Client({ server: address, cacert: join(directory, "none") }), /FORERUNNER_CACERT/);
  } finally {
    delete process.env["FORERUNNER_TOKEN_FILE"];
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true });
  }
});
