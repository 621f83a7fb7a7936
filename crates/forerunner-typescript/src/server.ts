/** Serves the requests of a node: the other side of `docs/agent-protocol.md`. */

import { createInterface } from "node:readline";

import type { Agent } from "./agent.js";
import { type ContextRef, Contexts, MissingContext, difference, encode } from "./context.js";
import { AgentError, TaskCancelled, TooLarge } from "./errors.js";
import type { Question } from "./question.js";
import { type Notify, Task, type TaskParams } from "./task.js";

/** The newest version of the protocol that this package speaks. It speaks all older ones. */
const PROTOCOL = 3;

/** The version from which on agents ask, log and report what they used. */
const REPORTS_SINCE = 3;

/** Bytes of a task's output that stay free for its answer, if that is an error. */
const ANSWER_ROOM = 16_384;

/** Characters of an error's message; clients see the first 1,000. */
const MESSAGE_CHARACTERS = 1_000;

type Request = { id: number; method: string; params: any };
type Run = { task: string; stop: AbortController };

/** Runs an agent on standard input and output until the node stops it. */
export class Server {
  readonly #contexts = new Contexts();
  readonly #agent: Agent;
  readonly #write: (line: string) => void;
  #limits = { line: 1 << 20, output: 16 << 20 };
  #taskBytes = 0;
  #protocol = PROTOCOL;
  #run: Run | undefined;

  constructor(agent: Agent, write: (line: string) => void) {
    this.#agent = agent;
    this.#write = write;
  }

  /** Answers requests in their order; `task/cancel` alone while a task runs. */
  async serve(): Promise<void> {
    let before: Promise<void> = Promise.resolve();
    for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
      if (line.trim() === "") continue;
      const request = JSON.parse(line) as Request;
      if (request.method === "task/cancel") {
        this.#cancel(request);
        continue;
      }
      // Before it is its turn, so that a cancellation finds it at any time.
      const run = { task: request.params?.task as string, stop: new AbortController() };
      if (request.method === "task/run") this.#run = run;
      before = before.then(() => this.#answer(request, run));
      before.catch(endProcess); // a warm-up that failed: the node shows its stack
      if (request.method === "shutdown") break;
    }
    await before;
  }

  async #answer(request: Request, run: Run): Promise<void> {
    const { id, method, params } = request;
    try {
      if (method === "task/run") return await this.#runTask(id, params as TaskParams, run);
      let result: unknown = {};
      if (method === "initialize") result = await this.#initialize(params);
      else if (method === "context/load") this.#contexts.load(params);
      else if (method === "context/drop") this.#contexts.drop(params.id);
      else if (method !== "ping" && method !== "shutdown") return this.#fail(id, -32601, `unknown method ${method}`);
      this.#send({ id, result });
    } catch (error) {
      if (error instanceof MissingContext) return this.#fail(id, -32003, error.message);
      throw error;
    }
  }

  async #initialize(params: any): Promise<unknown> {
    this.#limits = {
      line: params.limits?.max_line_bytes ?? this.#limits.line,
      output: params.limits?.max_output_bytes ?? this.#limits.output,
    };
    this.#protocol = Math.min(PROTOCOL, params.protocol);
    await this.#agent.warm();
    return {
      protocol: this.#protocol,
      agent: { name: this.#agent.name, version: this.#agent.version },
      capabilities: { contexts: this.#agent.contexts, streaming: true },
    };
  }

  async #runTask(id: number, params: TaskParams, run: Run): Promise<void> {
    this.#taskBytes = 0;
    let task: Task | undefined;
    try {
      const items = this.#contexts.begin(params.context ?? null);
      task = new Task(params, items, this.#notifier(run), run.stop.signal);
      task.check();
      const output = await this.#agent.run(task);
      if (task.questions.open) return this.#ask(id, task, task.questions.open);
      this.#succeed(id, params.context ?? null, items, output, task);
    } catch (error) {
      if (error instanceof MissingContext) throw error;
      if (task?.questions.open && !run.stop.signal.aborted) return this.#ask(id, task, task.questions.open);
      const usage = this.#usage(task);
      // A call that was aborted by the signal rejects with an error of its own.
      const stopped = run.stop.signal.aborted && (error as Error | undefined)?.name === "AbortError";
      if (stopped || error instanceof TaskCancelled) {
        return this.#fail(id, -32001, "the task stopped because it was cancelled", usage);
      }
      if (error instanceof AgentError) return this.#fail(id, error.code, error.message, { ...error.data(), ...usage });
      console.error(error);
      this.#fail(id, -32603, String(error), { retryable: true, ...usage });
    } finally {
      // The next task may have begun: the node sends it as soon as it has the answer.
      if (this.#run === run) this.#run = undefined;
    }
  }

  #succeed(id: number, context: ContextRef | null, old: string[], output: unknown, task: Task): void {
    let items = old;
    let line: string;
    try {
      if (context !== null) items = task.context.map(encode);
      const change = difference(old, items);
      // A function that returns nothing has the output null.
      line = this.#line({ id, result: { output: JSON.parse(encode(output ?? null)), context: change, ...this.#usage(task) } });
    } catch (error) {
      throw new AgentError(`the output or the context is no JSON: ${error}`, { retryable: false });
    }
    const room = this.#room();
    if (Buffer.byteLength(line) > room) {
      throw new TooLarge(`the answer is longer than ${room} bytes; return less, or raise max_line_bytes of the pool`);
    }
    if (context !== null) this.#contexts.commit(context, items);
    this.#writeLine(line);
  }

  #usage(task: Task | undefined): Record<string, unknown> {
    const has = task && this.#protocol >= REPORTS_SINCE && Object.keys(task.used).length > 0;
    return has ? { usage: task.used } : {};
  }

  /** Asks, and ends the turn: the task waits, and comes again with the answer. */
  #ask(id: number, task: Task, question: Question): void {
    if (this.#protocol < REPORTS_SINCE) {
      const message = "the agent asks a person, which this node does not support; update the node";
      return this.#fail(id, -32000, message, { retryable: false });
    }
    let line: string;
    try {
      line = this.#line({ method: "task/ask", params: { task: task.id, ...question } });
    } catch (error) {
      return this.#fail(id, -32000, `the question is no JSON: ${error}`, { retryable: false });
    }
    if (Buffer.byteLength(line) > this.#room() - ANSWER_ROOM) {
      const message = "the question is too long; ask less, or raise max_line_bytes of the pool";
      return this.#fail(id, -32002, message, this.#usage(task));
    }
    this.#writeLine(line);
    this.#send({ id, result: { output: null, ...this.#usage(task) } });
  }

  #notifier(run: Run): Notify {
    return (method, params) => {
      if (method === "log" && this.#protocol < REPORTS_SINCE) return console.error(params["text"]);
      if (this.#run !== run) return; // the task has ended, and the node would ignore it
      const line = this.#line({ method, params });
      if (Buffer.byteLength(line) > this.#room() - ANSWER_ROOM) {
        const limit = this.#limits.output;
        throw new TooLarge(
          `the task has sent its ${limit} bytes of output; send less, or raise max_output_bytes of the pool`,
        );
      }
      this.#writeLine(line);
    };
  }

  #cancel(request: Request): void {
    const run = this.#run;
    if (run?.task === request.params.task) run?.stop.abort(new TaskCancelled(run.task));
    this.#send({ id: request.id, result: {} });
  }

  #fail(id: number, code: number, message: string, data: Record<string, unknown> = {}): void {
    this.#send({ id, error: { code, message: message.slice(0, MESSAGE_CHARACTERS), data } });
  }

  #room(): number {
    return Math.min(this.#limits.line, this.#limits.output - this.#taskBytes);
  }

  #send(message: Record<string, unknown>): void {
    this.#writeLine(this.#line(message));
  }

  #line(message: Record<string, unknown>): string {
    return `${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`;
  }

  #writeLine(line: string): void {
    this.#taskBytes += Buffer.byteLength(line);
    this.#write(line);
  }
}

/** Ends the process because of an error that leaves the agent without use. */
export function endProcess(error: unknown): never {
  console.error(error);
  process.exit(1);
}

/**
 * Returns a function that writes to the node. Everything else that writes to standard output, such as `console.log`,
 * writes to standard error from now on, the log.
 */
export function claimStandardOutput(): (line: string) => void {
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;
  return (line) => void write(line);
}
