/** The client: submits, follows and steers tasks, contexts and schedules. */
import { type ClientOptions } from "./transport.js";
import type { BatchResult, ContextInfo, Schedule, ScheduleFields, SubmitFields, TaskEvent, TaskInfo, TaskLog } from "./views.js";
/** What every call accepts: a signal that ends it. */
export type CallOptions = {
    signal?: AbortSignal;
};
/** How long a call waits for the end of a task; without `waitS` it waits for as long as the task takes. */
export type WaitOptions = CallOptions & {
    waitS?: number;
};
/** The filters of a listing, as in `docs/http-api.md`. */
export type Filters = Record<string, string | number | readonly string[]>;
type TaskRef = string | {
    id: string;
};
/** A client of one node. A call that is safe to repeat is repeated while the node is full or away. */
export declare class Client {
    #private;
    constructor(options?: ClientOptions);
    /**
     * Submits a task. A key makes the submission safe to repeat; without one the client makes one. `traceparent` is the trace
     * that the task belongs to (W3C Trace Context).
     */
    submit(pool: string, input: unknown, options?: SubmitFields & CallOptions & {
        traceparent?: string | undefined;
    }): Promise<TaskInfo>;
    /**
     * Submits any number of tasks, in order. The answer has one entry for each. An entry with a `problem` is a task that
     * the node rejected. Tasks that find no room are submitted again, until none was accepted for `retryForS`.
     */
    submitMany(pool: string, tasks: Iterable<SubmitFields & {
        input: unknown;
    }>, options?: CallOptions): Promise<BatchResult[]>;
    /** Submits a task, waits for its end, and returns its output. */
    run(pool: string, input: unknown, options?: SubmitFields & WaitOptions): Promise<any>;
    /** Waits for the end of a task and returns its output. Throws `TaskFailed` if the task ends without one. */
    result(task: TaskRef, options?: WaitOptions): Promise<any>;
    /** Waits for the end of a task, `waitS` at most, and returns the task, whatever its state. */
    wait(task: TaskRef, options?: WaitOptions): Promise<TaskInfo>;
    /** Returns a task in its current state. */
    get(task: TaskRef, options?: CallOptions): Promise<TaskInfo>;
    /** Yields the events of a task from its first one to its end. A broken connection is made again. */
    events(task: TaskRef, options?: CallOptions): AsyncGenerator<TaskEvent>;
    /** Cancels a task. One that runs stays `running` until its agent has stopped. */
    cancel(task: TaskRef, options?: CallOptions): Promise<TaskInfo>;
    /**
     * Answers what the agent of a task asked: with the id or the kind of an option, `allow` or `reject`; with any JSON value if
     * there are no options. The same answer once more changes nothing. Without `request` it is for the question that is open.
     */
    answer(task: TaskRef, answer: unknown, options?: CallOptions & {
        request?: string;
    }): Promise<TaskInfo>;
    /** Returns the last lines of the log of a task, also while it runs. */
    logs(task: TaskRef, options?: CallOptions): Promise<TaskLog>;
    /** Returns a task that ended without success to its queue. */
    retry(task: TaskRef, options?: CallOptions): Promise<TaskInfo>;
    /** Yields tasks, newest first: `client.tasks({ pool: "coder", state: ["failed", "dead"] })`. */
    tasks(filters?: Filters, options?: CallOptions): AsyncGenerator<TaskInfo>;
    /** Yields contexts by pool and id; `pool` selects one pool. */
    contexts(filters?: Filters, options?: CallOptions): AsyncGenerator<ContextInfo>;
    /** Returns a context. */
    context(pool: string, id: string, options?: CallOptions): Promise<ContextInfo>;
    /** Deletes a context, for good. Its tasks must have ended. */
    deleteContext(pool: string, id: string, options?: CallOptions): Promise<void>;
    /** Yields the schedules, by name. */
    schedules(options?: CallOptions): AsyncGenerator<Schedule>;
    /** Returns a schedule. */
    schedule(name: string, options?: CallOptions): Promise<Schedule>;
    /** Makes a schedule. One of `cron`, `every` and `at` is required. */
    createSchedule(name: string, pool: string, input: unknown, fields: ScheduleFields, options?: CallOptions): Promise<Schedule>;
    /** Changes fields of a schedule; `null` sets one back to its default. */
    updateSchedule(name: string, fields: ScheduleFields & {
        pool?: string;
        input?: unknown;
    }, options?: CallOptions): Promise<Schedule>;
    /** Pauses a schedule. What falls into the pause does not come later. */
    pauseSchedule(name: string, options?: CallOptions): Promise<Schedule>;
    /** Resumes a schedule. */
    resumeSchedule(name: string, options?: CallOptions): Promise<Schedule>;
    /** Submits a task of a schedule now; its times stay as they are. */
    runSchedule(name: string, options?: CallOptions): Promise<TaskInfo>;
    /** Deletes a schedule. Tasks that it submitted go on. */
    deleteSchedule(name: string, options?: CallOptions): Promise<void>;
}
export {};
