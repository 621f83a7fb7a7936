/** Errors that an agent throws to end its task, and errors that a client throws. */
/** Fails the task. Another attempt follows, unless `retryable` is false. */
export declare class AgentError extends Error {
    readonly code: number;
    readonly retryable: boolean;
    constructor(message: string, options?: {
        retryable?: boolean;
    });
    /** The member `data` of the error, as the protocol has it. */
    data(): Record<string, unknown>;
}
/**
 * Fails the attempt because something that the agent depends on failed, such as a model provider. The attempt does not
 * count. `retryAfterS` is what the dependency asks for, in seconds.
 */
export declare class DependencyError extends AgentError {
    readonly retryAfterS: number | undefined;
    constructor(message: string, options?: {
        retryAfterS?: number;
        retryable?: boolean;
    });
    data(): Record<string, unknown>;
}
/** Fails the task without another attempt: its input does not fit. */
export declare class InvalidInput extends AgentError {
    readonly code: number;
    constructor(message: string);
}
/** Fails the task without another attempt: its output or its context would be too large. */
export declare class TooLarge extends AgentError {
    readonly code: number;
    constructor(message: string);
}
/** The node cancelled the task: the reason of `task.signal`, and what `task.check()` throws. */
export declare class TaskCancelled extends Error {
    constructor(task: string);
}
/** The node rejected a call. `kind` is the name of the problem, such as `queue-full`. */
export declare class ApiError extends Error {
    readonly status: number;
    readonly kind: string;
    readonly problem: Record<string, unknown>;
    constructor(status: number, problem: Record<string, unknown>);
}
/** No answer came from the node, in the time that the client has for all tries. */
export declare class Unreachable extends Error {
    readonly name = "Unreachable";
}
/** A task ended without an output. `task` is the task as the node shows it. */
export declare class TaskFailed extends Error {
    readonly task: import("./views.js").TaskInfo;
    constructor(task: import("./views.js").TaskInfo);
}
