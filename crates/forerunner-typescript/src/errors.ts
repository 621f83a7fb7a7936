/** Errors that an agent throws to end its task, and errors that a client throws. */

/** Fails the task. Another attempt follows, unless `retryable` is false. */
export class AgentError extends Error {
  readonly code: number = -32000;
  readonly retryable: boolean;

  constructor(message: string, options: { retryable?: boolean } = {}) {
    super(message);
    this.name = new.target.name;
    this.retryable = options.retryable ?? true;
  }

  /** The member `data` of the error, as the protocol has it. */
  data(): Record<string, unknown> {
    return { retryable: this.retryable };
  }
}

/**
 * Fails the attempt because something that the agent depends on failed, such as a model provider. The attempt does not
 * count. `retryAfterS` is what the dependency asks for, in seconds.
 */
export class DependencyError extends AgentError {
  readonly retryAfterS: number | undefined;

  constructor(message: string, options: { retryAfterS?: number; retryable?: boolean } = {}) {
    super(message, options);
    this.retryAfterS = options.retryAfterS;
  }

  override data(): Record<string, unknown> {
    const retryAfter = this.retryAfterS === undefined ? {} : { retry_after_s: this.retryAfterS };
    return { retryable: this.retryable, scope: "dependency", ...retryAfter };
  }
}

/** Fails the task without another attempt: its input does not fit. */
export class InvalidInput extends AgentError {
  override readonly code: number = -32602;

  constructor(message: string) {
    super(message, { retryable: false });
  }
}

/** Fails the task without another attempt: its output or its context would be too large. */
export class TooLarge extends AgentError {
  override readonly code: number = -32002;

  constructor(message: string) {
    super(message, { retryable: false });
  }
}

/** The node cancelled the task: the reason of `task.signal`, and what `task.check()` throws. */
export class TaskCancelled extends Error {
  constructor(task: string) {
    super(`task ${task} was cancelled`);
    this.name = "AbortError"; // as the platform names the errors of an aborted call
  }
}

/** The node rejected a call. `kind` is the name of the problem, such as `queue-full`. */
export class ApiError extends Error {
  readonly status: number;
  readonly kind: string;
  readonly problem: Record<string, unknown>;

  constructor(status: number, problem: Record<string, unknown>) {
    const kind = String(problem["type"] ?? "").split("/").pop() ?? "";
    const detail = String(problem["detail"] ?? problem["title"] ?? "the answer has no detail");
    super(kind ? `${status} ${kind}: ${detail}` : `${status}: ${detail}`);
    this.name = "ApiError";
    this.status = status;
    this.kind = kind;
    this.problem = problem;
  }
}

/** No answer came from the node, in the time that the client has for all tries. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

/** A task ended without an output. `task` is the task as the node shows it. */
export class TaskFailed extends Error {
  readonly task: import("./views.js").TaskInfo;

  constructor(task: import("./views.js").TaskInfo) {
    const kind = task.error?.kind ?? task.state;
    super(`task ${task.id} is ${task.state}: ${kind}: ${task.error?.message ?? "it has no error message"}`);
    this.name = "TaskFailed";
    this.task = task;
  }
}
