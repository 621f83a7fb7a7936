/** An agent: a warm-up, a task function, and how to serve or test them. */
import { type Change } from "./context.js";
import type { Question } from "./question.js";
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
export declare class Agent {
    #private;
    readonly name: string;
    readonly version: string;
    readonly contexts: number;
    constructor(name: string, options?: {
        version?: string;
        contexts?: number;
    });
    /** Makes a function the warm-up: it runs once, before the first task. The node measures its time. */
    warmUp(run: () => unknown): this;
    /** Makes a function the one that runs the tasks. It returns the output, any JSON value. */
    task(run: TaskFunction): this;
    /** Serves the node that started this process, until the node stops it; then the process ends. */
    serve(): Promise<void>;
    /** Serves if the module with this `import.meta.url` is the one that Node was started with, so that tests import it. */
    serveIfMain(url: string): void;
    /**
     * Runs one task without a node, after the warm-up. The errors of the function are thrown as they are. `answers` are those
     * to its questions, in their order; the function runs anew after each, as on a node.
     */
    test(input: unknown, context?: readonly unknown[], options?: {
        signal?: AbortSignal;
        attempt?: number;
        answers?: readonly unknown[];
    }): Promise<TestRun>;
    /** Runs the warm-up, once. */
    warm(): Promise<void>;
    /** Runs the task function. */
    run(task: Task): Promise<unknown>;
}
