/** Agents in a process of their own, driven as a node drives them; and `agent.test`. */

import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { Agent, AgentError, DependencyError, InvalidInput, TooLarge } from "../src/index.js";

const PACKAGE = new URL("../src/index.js", import.meta.url).href;

/** Starts an agent from the source of its task function, and exchanges lines with it. */
class Node {
  readonly process: ChildProcessWithoutNullStreams;
  readonly ended: Promise<number | null>;
  log = "";
  #lines: AsyncIterator<string>;
  #lastId = 0;

  constructor(source: string, limits: Record<string, number> = {}, protocol = 3) {
    const before = `import { Agent, AgentError, DependencyError, InvalidInput } from "${PACKAGE}";`;
    const script = `${before}\nconst agent = new Agent("t");\n${source}\nagent.serve();`;
    this.process = spawn(process.execPath, ["--input-type=module", "-e", script], { timeout: 30_000 });
    this.process.stderr.on("data", (text) => (this.log += text));
    this.ended = new Promise((resolve) => this.process.on("close", resolve));
    this.#lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
    this.request("initialize", { protocol, oldest_protocol: 1, limits });
  }

  request(method: string, params: unknown = {}): number {
    this.#lastId += 1;
    this.process.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: this.#lastId, method, params })}\n`);
    return this.#lastId;
  }

  run(input: unknown, context: unknown = null, task = "t1", more: object = {}): number {
    return this.request("task/run", { task, attempt: 1, input, context, ...more });
  }

  async read(): Promise<any> {
    const { value, done } = await this.#lines.next();
    assert(!done, this.log);
    return JSON.parse(value);
  }

  /** The answer to a request, and the notifications before it. */
  async answer(id: number): Promise<[any, any[]]> {
    const before = [];
    for (;;) {
      const message = await this.read();
      if (message.id === id) return [message, before];
      before.push(message);
    }
  }

  async close(): Promise<void> {
    await this.answer(this.request("shutdown"));
    assert.equal(await this.ended, 0, this.log);
    assert((await this.#lines.next()).done);
  }
}

test("a conversation continues and a failed task changes nothing", async () => {
  const node = new Node(`agent.task((task) => {
    task.remember({ n: task.input });
    if (task.input === 2) { task.context[0].n = "changed"; throw new AgentError("no", { retryable: false }); }
    if (task.input === 4) task.context.shift();
    return task.context.map((item) => item.n);
  })`);
  const [first] = await node.answer(node.run(1, { id: "c", version: 0, items: 0 }));
  assert.deepEqual(first.result, { output: [1], context: { append: [{ n: 1 }] } });
  const [failed] = await node.answer(node.run(2, { id: "c", version: 1, items: 1 }));
  assert.deepEqual(failed.error, { code: -32000, message: "no", data: { retryable: false } });
  const [third] = await node.answer(node.run(3, { id: "c", version: 1, items: 1 }));
  assert.deepEqual(third.result, { output: [1, 3], context: { append: [{ n: 3 }] } });
  const [cut] = await node.answer(node.run(4, { id: "c", version: 2, items: 2 }));
  assert.deepEqual(cut.result.context, { edit: [{ copy: [1, 1] }, { insert: [{ n: 4 }] }] });
  const [lost] = await node.answer(node.run(5, { id: "c", version: 9, items: 7 }));
  assert.equal(lost.error.code, -32003);
  await node.close();
});

test("what is printed goes to the log", async () => {
  const node = new Node(`agent
    .warmUp(() => console.log("warming"))
    .task(() => { console.log("printed"); process.stdout.write("written\\n"); })`);
  const [answer, before] = await node.answer(node.run(1));
  assert.deepEqual([answer.result, before.slice(1)], [{ output: null }, []]);
  await node.close();
  assert.equal(node.log, "warming\nprinted\nwritten\n");
});

test("a cancellation stops each kind of function", async () => {
  const functions = {
    sleeps: "await task.sleep(30)",
    checks: "for (;;) { task.check(); await new Promise(setImmediate); }",
    aborts: "await (await import('node:timers/promises')).setTimeout(30000, 0, { signal: task.signal })",
  };
  for (const [name, body] of Object.entries(functions)) {
    const node = new Node(`agent.task(async (task) => { task.output("x"); ${body}; })`);
    const run = node.run(1);
    while ((await node.read()).method !== "task/output");
    node.request("task/cancel", { task: "another" });
    const cancel = node.request("task/cancel", { task: "t1" });
    const answers = new Map<number, any>();
    for (let count = 0; count < 3; count += 1) {
      const message = await node.read();
      answers.set(message.id, message);
    }
    assert.equal(answers.get(run).error.code, -32001, name);
    assert.deepEqual(answers.get(cancel).result, {});
    assert.deepEqual((await node.answer(node.request("ping")))[0].result, {});
    await node.close();
  }
});

test("errors have the codes of the protocol", async () => {
  const source = `agent.task(async (task) => {
    if (task.input === "dependency") throw new DependencyError("503", { retryAfterS: 2.5 });
    if (task.input === "input") throw new InvalidInput("no text");
    if (task.input === "bug") return undefined.nothing;
    return { big: 10n, circle: task, long: "x".repeat(9000) }[task.input];
  })`;
  const node = new Node(source, { max_line_bytes: 4096 });
  const expected: Record<string, [number, unknown]> = {
    dependency: [-32000, { retryable: true, scope: "dependency", retry_after_s: 2.5 }],
    input: [-32602, { retryable: false }],
    bug: [-32603, { retryable: true }],
    big: [-32000, { retryable: false }],
    long: [-32002, { retryable: false }],
  };
  for (const [input, [code, data]] of Object.entries(expected)) {
    const [answer] = await node.answer(node.run(input));
    assert.deepEqual([answer.error?.code, answer.error?.data], [code, data], input);
  }
  assert.equal((await node.answer(node.request("none")))[0].error.code, -32601);
  await node.close();
  assert.match(node.log, /TypeError/);
});

test("a flood of output fails its task and no other", async () => {
  const source = `agent.task((task) => { for (let n = 0; n < task.input; n += 1) task.output("x".repeat(1000)); })`;
  const node = new Node(source, { max_output_bytes: 100_000 });
  const [flooded, chunks] = await node.answer(node.run(1_000));
  assert.equal(flooded.error.code, -32002);
  assert(chunks.reduce((sum, chunk) => sum + JSON.stringify(chunk).length, 0) < 100_000);
  assert.deepEqual((await node.answer(node.run(2, null, "t2")))[0].result, { output: null });
  await node.close();
});

test("a failed warm-up ends the process with its stack", async () => {
  const node = new Node(`agent.warmUp(async () => { throw new Error("no model"); }).task(() => 1)`);
  assert.equal(await node.ended, 1);
  assert.match(node.log, /no model/);
});

test("a task runs without a node", async () => {
  let warmed = 0;
  const agent = new Agent("t").warmUp(() => (warmed += 1));
  await assert.rejects(agent.test(1), /agent\.task/);
  agent.task(async (task) => {
    if (task.input === "hang") await task.sleep(30);
    task.output("x");
    task.progress("half way");
    task.remember(task.input);
    return task.context.length;
  });
  const first = await agent.test("one");
  const second = await agent.test("two", first.context);
  assert.deepEqual([first.output, second.output, second.context], [1, 2, ["one", "two"]]);
  assert.deepEqual([second.chunks, second.progress], [["x"], ["half way"]]);
  assert.deepEqual([second.change, warmed], [{ append: ["two"] }, 1]);
  await assert.rejects(agent.test("hang", [], { signal: AbortSignal.timeout(50) }), { name: "AbortError" });
  assert(new DependencyError("x") instanceof AgentError && new InvalidInput("x") instanceof AgentError);
  assert(new TooLarge("x") instanceof AgentError);
  assert.throws(() => new Agent("t", { contexts: 2000 }), RangeError);
});

const ASKS = `agent.task(async (task) => {
  task.usage({ tokens: 2 });
  task.usage({ tokens: 1 });
  task.remember("what a turn that waits does not store");
  const branch = task.ask("Which branch?", { options: ["main", { id: "dev", name: "Development" }], timeoutS: 60 });
  try {
    const sure = task.confirm("Delete " + branch + "?", { details: { files: 40 } });
    return [branch, sure, task.traceparent];
  } catch {
    return "a question cannot be caught";
  }
});`;

test("a question ends the turn, and is answered in a later one", async () => {
  const node = new Node(ASKS);
  const context = { id: "c", version: 0, items: 0 };
  const asked: any[] = [];
  const requests: unknown[] = [];
  for (const answer of ["dev", "allow"]) {
    const [end, before] = await node.answer(node.run(1, context, "t1", { requests }));
    assert.deepEqual(end.result, { output: null, usage: { tokens: 3 } });
    const { method, params } = before.at(-1);
    assert.deepEqual([method, params.task], ["task/ask", "t1"]);
    asked.push(params);
    requests.push({ id: "r", key: params.key, answer });
  }
  assert.deepEqual([asked[0].kind, asked[1].kind], ["question", "permission"]);
  assert.deepEqual(asked[0].options, [{ id: "main" }, { id: "dev", name: "Development" }]);
  assert.deepEqual([asked[0].timeout_s, asked[1].details], [60, { files: 40 }]);
  const [end, before] = await node.answer(node.run(1, context, "t1", { requests, traceparent: "00-a-b-01" }));
  assert.deepEqual([end.result.output, before], [["dev", true, "00-a-b-01"], []]);
  await node.close();
});

test("a node of an older version gets no question", async () => {
  const node = new Node(ASKS, {}, 2);
  const [end, before] = await node.answer(node.run(1));
  assert.match(end.error.message, /does not support/);
  assert.deepEqual(before.filter((message) => message.method), []);
  await node.close();
});

test("the log has lines, and failures report usage", async () => {
  const node = new Node(`agent.task((task) => {
    task.log("hot", "warn");
    task.usage({ requests: 1 });
    throw new AgentError("no");
  });`);
  const [end, before] = await node.answer(node.run(1));
  assert.deepEqual(before.at(-1).params, { task: "t1", text: "hot", level: "warn" });
  assert.deepEqual(end.error.data, { retryable: true, usage: { requests: 1 } });
  await node.close();
});

test("without a node, questions are answered in their order", async () => {
  const agent = new Agent("asks").task((task) => {
    task.log("begins");
    task.remember(1);
    const names = [task.ask("Another name?"), task.ask("Another name?")];
    return task.confirm("Done?") ? names : null;
  });
  const waits = await agent.test(1, [], { answers: ["a"] });
  assert.deepEqual([waits.asked?.prompt, waits.output, waits.change], ["Another name?", null, undefined]);
  const ended = await agent.test(1, [], { answers: ["a", "b", "allow"] });
  assert.deepEqual([ended.output, ended.asked, ended.log, ended.context], [["a", "b"], undefined, ["begins"], [1]]);
  const wrong = new Agent("uses").task((task) => task.usage({ tokens: task.input as number }));
  assert.deepEqual((await wrong.test(5)).usage, { tokens: 5 });
  await assert.rejects(wrong.test(1.5), /whole number/);
});
