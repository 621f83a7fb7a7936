/** A task as the function of an agent gets it. */
import { TaskCancelled } from "./errors.js";
import { Questions } from "./question.js";
/** Characters of output in one notification: six bytes each at most, once written as JSON. */
const CHUNK_CHARACTERS = 32_768;
/** One attempt of a task: its input, its context, and the calls that report about it. */
export class Task {
    /** The id of the task. Use it as an idempotency key for effects outside: a task may run again. */
    id;
    /** Any JSON value, as it was submitted. */
    input;
    /** Counts from 1. A task may run again after a failure. */
    attempt;
    /** The number of tasks above this one. */
    depth;
    /** The time (RFC 3339) at which the node cancels the task. */
    deadline;
    /** The trace of the task (W3C Trace Context), if it has one. Pass it on to what the task calls. */
    traceparent;
    /** The id of the conversation. */
    contextId;
    /** The items of the conversation, as an array of its own. The node stores what the task changes if it succeeds. */
    context;
    /** Aborts when the node cancels the task. Pass it to `fetch` and to timers. */
    signal;
    /** What the task used so far. */
    used = {};
    /** What the task asks. The server reads it. */
    questions;
    #notify;
    constructor(params, items, notify, signal) {
        this.id = params.task;
        this.input = params.input;
        this.attempt = params.attempt ?? 1;
        this.depth = params.depth ?? 0;
        this.deadline = params.deadline;
        this.traceparent = params.traceparent;
        this.questions = new Questions(params.requests ?? []);
        this.contextId = params.context?.id;
        this.context = items.map((item) => JSON.parse(item));
        this.signal = signal;
        this.#notify = notify;
    }
    /** Throws `TaskCancelled` if the node cancelled the task. `output` and `progress` do so by themselves. */
    check() {
        if (this.signal.aborted)
            throw new TaskCancelled(this.id);
    }
    /** Waits, and rejects as soon as the node cancels the task. */
    sleep(seconds) {
        return new Promise((resolve, reject) => {
            if (this.signal.aborted)
                return reject(new TaskCancelled(this.id));
            const stop = () => {
                clearTimeout(timer);
                reject(new TaskCancelled(this.id));
            };
            const timer = setTimeout(() => {
                this.signal.removeEventListener("abort", stop);
                resolve();
            }, seconds * 1000);
            this.signal.addEventListener("abort", stop, { once: true });
        });
    }
    /** Sends a piece of the output to the clients that follow the task. The result has all of it again. */
    output(chunk) {
        this.check();
        for (let start = 0; start < chunk.length; start += CHUNK_CHARACTERS) {
            this.#notify("task/output", { task: this.id, chunk: chunk.slice(start, start + CHUNK_CHARACTERS) });
        }
    }
    /** Sends a line for people to the clients that follow the task. */
    progress(text) {
        this.check();
        this.#notify("task/progress", { task: this.id, text: text.slice(0, CHUNK_CHARACTERS) });
    }
    /** Writes to the log of the task. So does `console.log`. */
    log(text, level = "info") {
        this.check();
        this.#notify("log", { task: this.id, text: String(text).slice(0, CHUNK_CHARACTERS), level });
    }
    /** Adds to what the task used: `task.usage({ input_tokens: 812 })`. The task has the sum of all its attempts. */
    usage(counts) {
        for (const [name, count] of Object.entries(counts)) {
            if (!Number.isSafeInteger(count) || count < 0) {
                throw new RangeError(`usage ${name}: ${count} is not valid; use a whole number from 0 on`);
            }
            this.used[name] = (this.used[name] ?? 0) + count;
        }
    }
    /**
     * Returns the answer of a person: the id of an option, or any JSON value if there are no options.
     *
     * The first time it ends the function, and the task waits without an agent. With the answer the function runs anew, and
     * this call returns it. So ask before effects. Do not catch `TaskWaits`.
     */
    ask(prompt, options = {}) {
        this.check();
        return this.questions.ask(prompt, options);
    }
    /** Asks for a permission, and returns whether a person gave it. See `ask`. */
    confirm(prompt, options = {}) {
        const ways = [
            { id: "allow", name: "Allow", kind: "allow_once" },
            { id: "reject", name: "Reject", kind: "reject_once" },
        ];
        return this.ask(prompt, { ...options, options: ways, kind: "permission" }) === "allow";
    }
    /** Adds items to the end of the context. */
    remember(...items) {
        this.context.push(...items);
    }
}
