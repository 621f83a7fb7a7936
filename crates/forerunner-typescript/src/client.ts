/** The client: submits, follows and steers tasks, contexts and schedules. */

import { setTimeout as sleep } from "node:timers/promises";

import { ApiError, TaskFailed, Unreachable } from "./errors.js";
import { readEvents } from "./sse.js";
import { type ClientOptions, Transport, isTransient } from "./transport.js";
import type {
  BatchResult,
  ContextInfo,
  Schedule,
  ScheduleFields,
  SubmitFields,
  TaskEvent,
  TaskInfo,
  TaskLog,
  TaskState,
} from "./views.js";

/** What every call accepts: a signal that ends it. */
export type CallOptions = { signal?: AbortSignal };
/** How long a call waits for the end of a task; without `waitS` it waits for as long as the task takes. */
export type WaitOptions = CallOptions & { waitS?: number };
/** The filters of a listing, as in `docs/http-api.md`. */
export type Filters = Record<string, string | number | readonly string[]>;

/** States in which a task has ended. */
const ENDED: readonly TaskState[] = ["succeeded", "failed", "cancelled", "expired", "dead", "damaged"];
/** Seconds for which one request waits for a result; proxies end silent answers after 60. */
const WAIT_S = 30;
/** Tasks and bytes of one batch; the node accepts 1,000 and 8 MiB. */
const BATCH = 1_000;
const BATCH_BYTES = 4 << 20;

type TaskRef = string | { id: string };

/** A client of one node. A call that is safe to repeat is repeated while the node is full or away. */
export class Client {
  readonly #http: Transport;

  constructor(options: ClientOptions = {}) {
    this.#http = new Transport(options);
  }

  /**
   * Submits a task. A key makes the submission safe to repeat; without one the client makes one. `traceparent` is the trace
   * that the task belongs to (W3C Trace Context).
   */
  async submit(
    pool: string,
    input: unknown,
    options: SubmitFields & CallOptions & { traceparent?: string | undefined } = {},
  ): Promise<TaskInfo> {
    const { signal, idempotency_key, traceparent, ...fields } = options;
    const headers: Record<string, string> = { "Idempotency-Key": idempotency_key ?? crypto.randomUUID() };
    if (traceparent) headers["traceparent"] = traceparent;
    const body = { input, ...fields };
    return this.#http.call("POST", `/v1/pools/${part(pool)}/tasks`, { body, headers, repeat: true, signal });
  }

  /**
   * Submits any number of tasks, in order. The answer has one entry for each. An entry with a `problem` is a task that
   * the node rejected. Tasks that find no room are submitted again, until none was accepted for `retryForS`.
   */
  async submitMany(
    pool: string,
    tasks: Iterable<SubmitFields & { input: unknown }>,
    options: CallOptions = {},
  ): Promise<BatchResult[]> {
    const results: BatchResult[] = [];
    for (const batch of batches(tasks)) results.push(...(await this.#submitBatch(pool, batch, options.signal)));
    return results;
  }

  /** Submits a task, waits for its end, and returns its output. */
  async run(pool: string, input: unknown, options: SubmitFields & WaitOptions = {}): Promise<any> {
    const { waitS, ...fields } = options;
    return this.result(await this.submit(pool, input, fields), options);
  }

  /** Waits for the end of a task and returns its output. Throws `TaskFailed` if the task ends without one. */
  async result(task: TaskRef, options: WaitOptions = {}): Promise<any> {
    const ended = await this.wait(task, options);
    if (ended.state === "succeeded") return ended.output;
    if (ENDED.includes(ended.state)) throw new TaskFailed(ended);
    throw new DOMException(`task ${ended.id} is ${ended.state} after ${options.waitS} s; it goes on`, "TimeoutError");
  }

  /** Waits for the end of a task, `waitS` at most, and returns the task, whatever its state. */
  async wait(task: TaskRef, options: WaitOptions = {}): Promise<TaskInfo> {
    const ends = performance.now() + (options.waitS ?? Infinity) * 1000;
    for (;;) {
      const leftS = Math.max(0, Math.min(WAIT_S, Math.ceil((ends - performance.now()) / 1000)));
      const headers = { Prefer: `wait=${leftS}` };
      const call = { headers, repeat: true, extraWaitS: leftS, signal: options.signal };
      const info = (await this.#http.call("GET", taskPath(task), call)) as TaskInfo;
      if (ENDED.includes(info.state) || performance.now() >= ends) return info;
    }
  }

  /** Returns a task in its current state. */
  async get(task: TaskRef, options: CallOptions = {}): Promise<TaskInfo> {
    return this.#http.call("GET", taskPath(task), { repeat: true, signal: options.signal });
  }

  /** Yields the events of a task from its first one to its end. A broken connection is made again. */
  async *events(task: TaskRef, options: CallOptions = {}): AsyncGenerator<TaskEvent> {
    let seen = "";
    let ends = performance.now() + this.#http.retryForS * 1000;
    for (;;) {
      let failure: unknown = new Unreachable(`${this.#http.server} ends the events of a task before the task ends`);
      try {
        const headers: Record<string, string> = { Accept: "text/event-stream" };
        if (seen) headers["Last-Event-ID"] = seen;
        const answer = await this.#http.open(`${taskPath(task)}/events`, headers, options.signal);
        for await (const { id, data } of readEvents(answer.body as unknown as AsyncIterable<Uint8Array>)) {
          seen = id;
          const event = JSON.parse(data) as TaskEvent;
          yield event;
          if (event.event === "state" && ENDED.includes(event.state)) return;
          ends = performance.now() + this.#http.retryForS * 1000;
        }
      } catch (error) {
        options.signal?.throwIfAborted();
        if (error instanceof ApiError && !isTransient(error)) throw error;
        failure = error;
      }
      if (performance.now() >= ends) throw failure;
      await sleep(500, undefined, options.signal ? { signal: options.signal } : {});
    }
  }

  /** Cancels a task. One that runs stays `running` until its agent has stopped. */
  async cancel(task: TaskRef, options: CallOptions = {}): Promise<TaskInfo> {
    return this.#http.call("POST", `${taskPath(task)}:cancel`, { repeat: true, signal: options.signal });
  }

  /**
   * Answers what the agent of a task asked: with the id or the kind of an option, `allow` or `reject`; with any JSON value if
   * there are no options. The same answer once more changes nothing. Without `request` it is for the question that is open.
   */
  async answer(task: TaskRef, answer: unknown, options: CallOptions & { request?: string } = {}): Promise<TaskInfo> {
    const request = options.request ?? openRequest(await this.get(task, options));
    const body = { request, answer };
    return this.#http.call("POST", `${taskPath(task)}:answer`, { body, repeat: true, signal: options.signal });
  }

  /** Returns the last lines of the log of a task, also while it runs. */
  async logs(task: TaskRef, options: CallOptions = {}): Promise<TaskLog> {
    return this.#http.call("GET", `${taskPath(task)}/logs`, { repeat: true, signal: options.signal });
  }

  /** Returns a task that ended without success to its queue. */
  async retry(task: TaskRef, options: CallOptions = {}): Promise<TaskInfo> {
    return this.#http.call("POST", `${taskPath(task)}:retry`, { repeat: false, signal: options.signal });
  }

  /** Yields tasks, newest first: `client.tasks({ pool: "coder", state: ["failed", "dead"] })`. */
  tasks(filters: Filters = {}, options: CallOptions = {}): AsyncGenerator<TaskInfo> {
    return this.#pages("/v1/tasks", "tasks", filters, options.signal);
  }

  /** Yields contexts by pool and id; `pool` selects one pool. */
  contexts(filters: Filters = {}, options: CallOptions = {}): AsyncGenerator<ContextInfo> {
    return this.#pages("/v1/contexts", "contexts", filters, options.signal);
  }

  /** Returns a context. */
  async context(pool: string, id: string, options: CallOptions = {}): Promise<ContextInfo> {
    return this.#http.call("GET", contextPath(pool, id), { repeat: true, signal: options.signal });
  }

  /** Deletes a context, for good. Its tasks must have ended. */
  async deleteContext(pool: string, id: string, options: CallOptions = {}): Promise<void> {
    await this.#http.call("DELETE", contextPath(pool, id), { repeat: true, signal: options.signal });
  }

  /** Yields the schedules, by name. */
  schedules(options: CallOptions = {}): AsyncGenerator<Schedule> {
    return this.#pages("/v1/schedules", "schedules", {}, options.signal);
  }

  /** Returns a schedule. */
  async schedule(name: string, options: CallOptions = {}): Promise<Schedule> {
    return this.#http.call("GET", schedulePath(name), { repeat: true, signal: options.signal });
  }

  /** Makes a schedule. One of `cron`, `every` and `at` is required. */
  async createSchedule(
    name: string,
    pool: string,
    input: unknown,
    fields: ScheduleFields,
    options: CallOptions = {},
  ): Promise<Schedule> {
    const body = { name, pool, input, ...fields };
    return this.#http.call("POST", "/v1/schedules", { body, repeat: false, signal: options.signal });
  }

  /** Changes fields of a schedule; `null` sets one back to its default. */
  async updateSchedule(
    name: string,
    fields: ScheduleFields & { pool?: string; input?: unknown },
    options: CallOptions = {},
  ): Promise<Schedule> {
    return this.#http.call("PATCH", schedulePath(name), { body: fields, repeat: true, signal: options.signal });
  }

  /** Pauses a schedule. What falls into the pause does not come later. */
  async pauseSchedule(name: string, options: CallOptions = {}): Promise<Schedule> {
    return this.#http.call("POST", `${schedulePath(name)}:pause`, { repeat: true, signal: options.signal });
  }

  /** Resumes a schedule. */
  async resumeSchedule(name: string, options: CallOptions = {}): Promise<Schedule> {
    return this.#http.call("POST", `${schedulePath(name)}:resume`, { repeat: true, signal: options.signal });
  }

  /** Submits a task of a schedule now; its times stay as they are. */
  async runSchedule(name: string, options: CallOptions = {}): Promise<TaskInfo> {
    return this.#http.call("POST", `${schedulePath(name)}:run`, { repeat: false, signal: options.signal });
  }

  /** Deletes a schedule. Tasks that it submitted go on. */
  async deleteSchedule(name: string, options: CallOptions = {}): Promise<void> {
    await this.#http.call("DELETE", schedulePath(name), { repeat: true, signal: options.signal });
  }

  async #submitBatch(pool: string, batch: readonly unknown[], signal?: AbortSignal): Promise<BatchResult[]> {
    const results: BatchResult[] = new Array(batch.length);
    let places = batch.map((_, place) => place);
    let ends = performance.now() + this.#http.retryForS * 1000;
    for (;;) {
      const body = { tasks: places.map((place) => batch[place]) };
      const call = { body, repeat: true, extraWaitS: 30, signal };
      const entries = (await this.#http.call("POST", `/v1/pools/${part(pool)}/tasks:batch`, call)).results;
      entries.forEach((entry: BatchResult, index: number) => (results[places[index] as number] = entry));
      const full = places.filter((place) => [429, 503].includes(results[place]?.status ?? 0));
      if (full.length < places.length) ends = performance.now() + this.#http.retryForS * 1000;
      if (full.length === 0) return results;
      const askedS = full.map((place) => Number(results[place]?.problem?.["retry_after_s"] ?? 0));
      const delayMs = Math.max(0.2, ...askedS) * 1000;
      if (performance.now() + delayMs > ends) return results;
      await sleep(delayMs, undefined, signal ? { signal } : {});
      places = full;
    }
  }

  async *#pages(path: string, member: string, filters: Filters, signal?: AbortSignal): AsyncGenerator<any> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(filters)) {
      for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one));
    }
    for (;;) {
      const page = await this.#http.call("GET", `${path}?${query}`, { repeat: true, signal });
      yield* page[member];
      if (!page.next) return;
      query.set("cursor", page.next);
    }
  }
}

/** Splits tasks by number and bytes, and gives each a key, so that a batch is safe to repeat. */
function* batches(tasks: Iterable<SubmitFields & { input: unknown }>): Generator<unknown[]> {
  let batch: unknown[] = [];
  let size = 0;
  for (const task of tasks) {
    const withKey = { ...task, idempotency_key: task.idempotency_key ?? crypto.randomUUID() };
    const length = Buffer.byteLength(JSON.stringify(withKey));
    if (batch.length === BATCH || (batch.length > 0 && size + length > BATCH_BYTES)) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(withKey);
    size += length;
  }
  if (batch.length > 0) yield batch;
}

function openRequest(task: TaskInfo): string {
  const last = task.requests?.at(-1);
  if (!last || "answer" in last) throw new TypeError(`the agent of task ${task.id} asks nothing now; read the task`);
  return last.id;
}

const part = encodeURIComponent;
const taskPath = (task: TaskRef) => `/v1/tasks/${part(typeof task === "string" ? task : task.id)}`;
const contextPath = (pool: string, id: string) => `/v1/contexts/${part(id)}?pool=${part(pool)}`;
const schedulePath = (name: string) => `/v1/schedules/${part(name)}`;
