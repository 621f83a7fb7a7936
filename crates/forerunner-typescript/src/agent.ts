/** An agent: a warm-up, a task function, and how to serve or test them. */

import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { type Change, difference, encode } from "./context.js";
import { TaskCancelled } from "./errors.js";
import { Server, claimStandardOutput, endProcess } from "./server.js";
import type { Asked, Question } from "./question.js";
import { Task } from "./task.js";

export type TaskFunction = (task: Task) => unknown;

/** What a task did in `agent.test`. */
export type TestRun = {
  /** What the function returned. */
  output: any;
  /** The pieces that it sent with `output`. */
  chunks: string[];
  /** The lines that it sent with `progress`. */
  progress: string[];
  /** The lines that it sent with `log`. */
  log: string[];
  /** What it asked and nobody answered, as the protocol has it; `undefined` if it ended. */
  asked: Question | undefined;
  /** What it used. */
  usage: Record<string, number>;
  /** The context after the task. Pass it to the next `test` to continue the conversation. */
  context: any[];
  /** The change of the context as the protocol has it. */
  change: Change | undefined;
};

/** An agent of a pool. `contexts` is how many conversations it has in memory at once, at most 1,024. */
export class Agent {
  readonly name: string;
  readonly version: string;
  readonly contexts: number;
  #warmUp: (() => unknown) | undefined;
  #task: TaskFunction | undefined;
  #warm: Promise<unknown> | undefined;

  constructor(name: string, options: { version?: string; contexts?: number } = {}) {
    this.name = name;
    this.version = options.version ?? "1";
    this.contexts = options.contexts ?? 64;
    if (!Number.isInteger(this.contexts) || this.contexts < 0 || this.contexts > 1024) {
      throw new RangeError(`contexts ${this.contexts} is not valid; use 0 to 1024`);
    }
  }

  /** Makes a function the warm-up: it runs once, before the first task. The node measures its time. */
  warmUp(run: () => unknown): this {
    this.#warmUp = run;
    return this;
  }

  /** Makes a function the one that runs the tasks. It returns the output, any JSON value. */
  task(run: TaskFunction): this {
    this.#task = run;
    return this;
  }

  /** Serves the node that started this process, until the node stops it; then the process ends. */
  async serve(): Promise<void> {
    this.#function();
    const write = claimStandardOutput();
    await new Server(this, write).serve().catch(endProcess);
    process.exit(0);
  }

  /** Serves if the module with this `import.meta.url` is the one that Node was started with, so that tests import it. */
  serveIfMain(url: string): void {
    const main = process.argv[1];
    if (main !== undefined && realpathSync(main) === realpathSync(fileURLToPath(url))) void this.serve();
  }

  /**
   * Runs one task without a node, after the warm-up. The errors of the function are thrown as they are. `answers` are those
   * to its questions, in their order; the function runs anew after each, as on a node.
   */
  async test(
    input: unknown,
    context: readonly unknown[] = [],
    options: { signal?: AbortSignal; attempt?: number; answers?: readonly unknown[] } = {},
  ): Promise<TestRun> {
    const requests: Asked[] = [];
    const left = [...(options.answers ?? [])];
    for (;;) {
      const result = await this.#testOnce(input, context, requests, options);
      if (result.asked === undefined || left.length === 0) return result;
      requests.push({ key: result.asked.key, answer: left.shift() });
    }
  }

  async #testOnce(
    input: unknown,
    context: readonly unknown[],
    requests: readonly Asked[],
    options: { signal?: AbortSignal; attempt?: number },
  ): Promise<TestRun> {
    const items = context.map(encode);
    const said = { chunks: [] as string[], progress: [] as string[], log: [] as string[] };
    const stop = new AbortController();
    const abort = () => stop.abort(new TaskCancelled("test"));
    options.signal?.addEventListener("abort", abort, { once: true });
    if (options.signal?.aborted) abort();
    const params = {
      task: "test",
      input,
      attempt: options.attempt ?? 1,
      requests,
      context: { id: "test", version: 0, items: items.length },
    };
    const note = (method: string, params: Record<string, string>) => {
      if (method === "task/output") said.chunks.push(params["chunk"] ?? "");
      else if (method === "log") said.log.push(params["text"] ?? "");
      else said.progress.push(params["text"] ?? "");
    };
    await this.warm();
    const task = new Task(params, items, note, stop.signal);
    const output = await this.run(task).catch((error) => {
      if (!task.questions.open) throw error;
    });
    const { open: asked } = task.questions;
    // Of a turn that asked, nothing is stored.
    const after = asked ? items.map((item) => JSON.parse(item)) : task.context;
    const change = difference(items, after.map(encode));
    const result = asked ? null : JSON.parse(encode(output ?? null));
    return { ...said, output: result, asked, usage: task.used, context: after, change };
  }

  /** Runs the warm-up, once. */
  async warm(): Promise<void> {
    this.#warm ??= Promise.resolve().then(() => this.#warmUp?.());
    await this.#warm;
  }

  /** Runs the task function. */
  async run(task: Task): Promise<unknown> {
    return this.#function()(task);
  }

  #function(): TaskFunction {
    if (!this.#task) throw new Error(`agent ${this.name} has no task function; give it one with agent.task(…)`);
    return this.#task;
  }
}
