/** The client: submits, follows and steers tasks, contexts and schedules. */
import { setTimeout as sleep } from "node:timers/promises";
import { ApiError, TaskFailed, Unreachable } from "./errors.js";
import { readEvents } from "./sse.js";
import { Transport, isTransient } from "./transport.js";
/** States in which a task has ended. */
const ENDED = ["succeeded", "failed", "cancelled", "expired", "dead", "damaged"];
/** Seconds for which one request waits for a result; proxies end silent answers after 60. */
const WAIT_S = 30;
/** Tasks and bytes of one batch; the node accepts 1,000 and 8 MiB. */
const BATCH = 1_000;
const BATCH_BYTES = 4 << 20;
/** A client of one node. A call that is safe to repeat is repeated while the node is full or away. */
export class Client {
    #http;
    constructor(options = {}) {
        this.#http = new Transport(options);
    }
    /**
     * Submits a task. A key makes the submission safe to repeat; without one the client makes one. `traceparent` is the trace
     * that the task belongs to (W3C Trace Context).
     */
    async submit(pool, input, options = {}) {
        const { signal, idempotency_key, traceparent, ...fields } = options;
        const headers = { "Idempotency-Key": idempotency_key ?? crypto.randomUUID() };
        if (traceparent)
            headers["traceparent"] = traceparent;
        const body = { input, ...fields };
        return this.#http.call("POST", `/v1/pools/${part(pool)}/tasks`, { body, headers, repeat: true, signal });
    }
    /**
     * Submits any number of tasks, in order. The answer has one entry for each. An entry with a `problem` is a task that
     * the node rejected. Tasks that find no room are submitted again, until none was accepted for `retryForS`.
     */
    async submitMany(pool, tasks, options = {}) {
        const results = [];
        for (const batch of batches(tasks))
            results.push(...(await this.#submitBatch(pool, batch, options.signal)));
        return results;
    }
    /** Submits a task, waits for its end, and returns its output. */
    async run(pool, input, options = {}) {
        const { waitS, ...fields } = options;
        return this.result(await this.submit(pool, input, fields), options);
    }
    /** Waits for the end of a task and returns its output. Throws `TaskFailed` if the task ends without one. */
    async result(task, options = {}) {
        const ended = await this.wait(task, options);
        if (ended.state === "succeeded")
            return ended.output;
        if (ENDED.includes(ended.state))
            throw new TaskFailed(ended);
        throw new DOMException(`task ${ended.id} is ${ended.state} after ${options.waitS} s; it goes on`, "TimeoutError");
    }
    /** Waits for the end of a task, `waitS` at most, and returns the task, whatever its state. */
    async wait(task, options = {}) {
        const ends = performance.now() + (options.waitS ?? Infinity) * 1000;
        for (;;) {
            const leftS = Math.max(0, Math.min(WAIT_S, Math.ceil((ends - performance.now()) / 1000)));
            const headers = { Prefer: `wait=${leftS}` };
            const call = { headers, repeat: true, extraWaitS: leftS, signal: options.signal };
            const info = (await this.#http.call("GET", taskPath(task), call));
            if (ENDED.includes(info.state) || performance.now() >= ends)
                return info;
        }
    }
    /** Returns a task in its current state. */
    async get(task, options = {}) {
        return this.#http.call("GET", taskPath(task), { repeat: true, signal: options.signal });
    }
    /** Yields the events of a task from its first one to its end. A broken connection is made again. */
    async *events(task, options = {}) {
        let seen = "";
        let ends = performance.now() + this.#http.retryForS * 1000;
        for (;;) {
            let failure = new Unreachable(`${this.#http.server} ends the events of a task before the task ends`);
            try {
                const headers = { Accept: "text/event-stream" };
                if (seen)
                    headers["Last-Event-ID"] = seen;
                const answer = await this.#http.open(`${taskPath(task)}/events`, headers, options.signal);
                for await (const { id, data } of readEvents(answer.body)) {
                    seen = id;
                    const event = JSON.parse(data);
                    yield event;
                    if (event.event === "state" && ENDED.includes(event.state))
                        return;
                    ends = performance.now() + this.#http.retryForS * 1000;
                }
            }
            catch (error) {
                options.signal?.throwIfAborted();
                if (error instanceof ApiError && !isTransient(error))
                    throw error;
                failure = error;
            }
            if (performance.now() >= ends)
                throw failure;
            await sleep(500, undefined, options.signal ? { signal: options.signal } : {});
        }
    }
    /** Cancels a task. One that runs stays `running` until its agent has stopped. */
    async cancel(task, options = {}) {
        return this.#http.call("POST", `${taskPath(task)}:cancel`, { repeat: true, signal: options.signal });
    }
    /**
     * Answers what the agent of a task asked: with the id or the kind of an option, `allow` or `reject`; with any JSON value if
     * there are no options. The same answer once more changes nothing. Without `request` it is for the question that is open.
     */
    async answer(task, answer, options = {}) {
        const request = options.request ?? openRequest(await this.get(task, options));
        const body = { request, answer };
        return this.#http.call("POST", `${taskPath(task)}:answer`, { body, repeat: true, signal: options.signal });
    }
    /** Returns the last lines of the log of a task, also while it runs. */
    async logs(task, options = {}) {
        return this.#http.call("GET", `${taskPath(task)}/logs`, { repeat: true, signal: options.signal });
    }
    /** Returns a task that ended without success to its queue. */
    async retry(task, options = {}) {
        return this.#http.call("POST", `${taskPath(task)}:retry`, { repeat: false, signal: options.signal });
    }
    /** Yields tasks, newest first: `client.tasks({ pool: "coder", state: ["failed", "dead"] })`. */
    tasks(filters = {}, options = {}) {
        return this.#pages("/v1/tasks", "tasks", filters, options.signal);
    }
    /** Yields contexts by pool and id; `pool` selects one pool. */
    contexts(filters = {}, options = {}) {
        return this.#pages("/v1/contexts", "contexts", filters, options.signal);
    }
    /** Returns a context. */
    async context(pool, id, options = {}) {
        return this.#http.call("GET", contextPath(pool, id), { repeat: true, signal: options.signal });
    }
    /** Deletes a context, for good. Its tasks must have ended. */
    async deleteContext(pool, id, options = {}) {
        await this.#http.call("DELETE", contextPath(pool, id), { repeat: true, signal: options.signal });
    }
    /** Yields the schedules, by name. */
    schedules(options = {}) {
        return this.#pages("/v1/schedules", "schedules", {}, options.signal);
    }
    /** Returns a schedule. */
    async schedule(name, options = {}) {
        return this.#http.call("GET", schedulePath(name), { repeat: true, signal: options.signal });
    }
    /** Makes a schedule. One of `cron`, `every` and `at` is required. */
    async createSchedule(name, pool, input, fields, options = {}) {
        const body = { name, pool, input, ...fields };
        return this.#http.call("POST", "/v1/schedules", { body, repeat: false, signal: options.signal });
    }
    /** Changes fields of a schedule; `null` sets one back to its default. */
    async updateSchedule(name, fields, options = {}) {
        return this.#http.call("PATCH", schedulePath(name), { body: fields, repeat: true, signal: options.signal });
    }
    /** Pauses a schedule. What falls into the pause does not come later. */
    async pauseSchedule(name, options = {}) {
        return this.#http.call("POST", `${schedulePath(name)}:pause`, { repeat: true, signal: options.signal });
    }
    /** Resumes a schedule. */
    async resumeSchedule(name, options = {}) {
        return this.#http.call("POST", `${schedulePath(name)}:resume`, { repeat: true, signal: options.signal });
    }
    /** Submits a task of a schedule now; its times stay as they are. */
    async runSchedule(name, options = {}) {
        return this.#http.call("POST", `${schedulePath(name)}:run`, { repeat: false, signal: options.signal });
    }
    /** Deletes a schedule. Tasks that it submitted go on. */
    async deleteSchedule(name, options = {}) {
        await this.#http.call("DELETE", schedulePath(name), { repeat: true, signal: options.signal });
    }
    async #submitBatch(pool, batch, signal) {
        const results = new Array(batch.length);
        let places = batch.map((_, place) => place);
        let ends = performance.now() + this.#http.retryForS * 1000;
        for (;;) {
            const body = { tasks: places.map((place) => batch[place]) };
            const call = { body, repeat: true, extraWaitS: 30, signal };
            const entries = (await this.#http.call("POST", `/v1/pools/${part(pool)}/tasks:batch`, call)).results;
            entries.forEach((entry, index) => (results[places[index]] = entry));
            const full = places.filter((place) => [429, 503].includes(results[place]?.status ?? 0));
            if (full.length < places.length)
                ends = performance.now() + this.#http.retryForS * 1000;
            if (full.length === 0)
                return results;
            const askedS = full.map((place) => Number(results[place]?.problem?.["retry_after_s"] ?? 0));
            const delayMs = Math.max(0.2, ...askedS) * 1000;
            if (performance.now() + delayMs > ends)
                return results;
            await sleep(delayMs, undefined, signal ? { signal } : {});
            places = full;
        }
    }
    async *#pages(path, member, filters, signal) {
        const query = new URLSearchParams();
        for (const [name, value] of Object.entries(filters)) {
            for (const one of Array.isArray(value) ? value : [value])
                query.append(name, String(one));
        }
        for (;;) {
            const page = await this.#http.call("GET", `${path}?${query}`, { repeat: true, signal });
            yield* page[member];
            if (!page.next)
                return;
            query.set("cursor", page.next);
        }
    }
}
/** Splits tasks by number and bytes, and gives each a key, so that a batch is safe to repeat. */
function* batches(tasks) {
    let batch = [];
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
    if (batch.length > 0)
        yield batch;
}
function openRequest(task) {
    const last = task.requests?.at(-1);
    if (!last || "answer" in last)
        throw new TypeError(`the agent of task ${task.id} asks nothing now; read the task`);
    return last.id;
}
const part = encodeURIComponent;
const taskPath = (task) => `/v1/tasks/${part(typeof task === "string" ? task : task.id)}`;
const contextPath = (pool, id) => `/v1/contexts/${part(id)}?pool=${part(pool)}`;
const schedulePath = (name) => `/v1/schedules/${part(name)}`;
