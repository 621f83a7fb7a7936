/** A task as the function of an agent gets it. */
import type { ContextRef } from "./context.js";
import { type AskOptions, type Asked, Questions } from "./question.js";
export type TaskParams = {
    task: string;
    input: unknown;
    attempt?: number;
    depth?: number;
    deadline?: string;
    context?: ContextRef | null;
    traceparent?: string;
    requests?: readonly Asked[];
};
export type LogLevel = "debug" | "info" | "warn" | "error";
export type Notify = (method: "task/output" | "task/progress" | "log", params: Record<string, string>) => void;
/** One attempt of a task: its input, its context, and the calls that report about it. */
export declare class Task {
    #private;
    /** The id of the task. Use it as an idempotency key for effects outside: a task may run again. */
    readonly id: string;
    /** Any JSON value, as it was submitted. */
    readonly input: unknown;
    /** Counts from 1. A task may run again after a failure. */
    readonly attempt: number;
    /** The number of tasks above this one. */
    readonly depth: number;
    /** The time (RFC 3339) at which the node cancels the task. */
    readonly deadline: string | undefined;
    /** The trace of the task (W3C Trace Context), if it has one. Pass it on to what the task calls. */
    readonly traceparent: string | undefined;
    /** The id of the conversation. */
    readonly contextId: string | undefined;
    /** The items of the conversation, as an array of its own. The node stores what the task changes if it succeeds. */
    context: any[];
    /** Aborts when the node cancels the task. Pass it to `fetch` and to timers. */
    readonly signal: AbortSignal;
    /** What the task used so far. */
    readonly used: Record<string, number>;
    /** What the task asks. The server reads it. */
    readonly questions: Questions;
    constructor(params: TaskParams, items: readonly string[], notify: Notify, signal: AbortSignal);
    /** Throws `TaskCancelled` if the node cancelled the task. `output` and `progress` do so by themselves. */
    check(): void;
    /** Waits, and rejects as soon as the node cancels the task. */
    sleep(seconds: number): Promise<void>;
    /** Sends a piece of the output to the clients that follow the task. The result has all of it again. */
    output(chunk: string): void;
    /** Sends a line for people to the clients that follow the task. */
    progress(text: string): void;
    /** Writes to the log of the task. So does `console.log`. */
    log(text: string, level?: LogLevel): void;
    /** Adds to what the task used: `task.usage({ input_tokens: 812 })`. The task has the sum of all its attempts. */
    usage(counts: Record<string, number>): void;
    /**
     * Returns the answer of a person: the id of an option, or any JSON value if there are no options.
     *
     * The first time it ends the function, and the task waits without an agent. With the answer the function runs anew, and
     * this call returns it. So ask before effects. Do not catch `TaskWaits`.
     */
    ask(prompt: string, options?: AskOptions): any;
    /** Asks for a permission, and returns whether a person gave it. See `ask`. */
    confirm(prompt: string, options?: Pick<AskOptions, "details" | "timeoutS">): boolean;
    /** Adds items to the end of the context. */
    remember(...items: unknown[]): void;
}
