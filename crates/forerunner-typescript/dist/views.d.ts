/** What the node answers. `docs/http-api.md` explains each member; an answer leaves out what is not known. */
export type TaskState = "scheduled" | "queued" | "running" | "waiting" | "succeeded" | "failed" | "cancelled" | "expired" | "dead" | "damaged";
/** Why an attempt has no output: `kind` for programs, `message` for people. */
export type TaskError = {
    kind: string;
    message: string;
};
/** What an agent asked: with `answer` once a person gave one. */
export type AgentRequest = {
    id: string;
    kind: "question" | "permission";
    prompt: string;
    options?: {
        id: string;
        name: string;
        kind?: string;
    }[];
    schema?: unknown;
    details?: unknown;
    asked_at: string;
    expires_at: string;
    answer?: any;
    answered_at?: string;
};
/** A line of the log of a task. */
export type LogLine = {
    at: string;
    attempt: number;
    source: "agent" | "stderr";
    level: "debug" | "info" | "warn" | "error";
    text: string;
};
/** The last lines of the log of a task, and how many older ones were dropped. */
export type TaskLog = {
    lines: LogLine[];
    dropped: number;
};
/** A task. */
export type TaskInfo = {
    id: string;
    pool: string;
    state: TaskState;
    input?: any;
    output?: any;
    error?: TaskError;
    context?: string;
    context_cost?: Record<string, unknown>;
    priority: number;
    attempt: number;
    max_attempts: number;
    crashes?: number;
    labels?: Record<string, string>;
    idempotency_key?: string;
    parent?: string;
    depth?: number;
    submitted_at: string;
    run_at: string;
    deadline?: string;
    timeout: string;
    started_at?: string;
    finished_at?: string;
    wait_s?: number;
    service_s?: number;
    agent?: string;
    requests?: AgentRequest[];
    usage?: Record<string, number>;
    traceparent?: string;
};
/** The fields of a submission besides the input. */
export type SubmitFields = {
    context?: string;
    priority?: number;
    run_at?: string;
    deadline?: string;
    timeout?: string;
    max_attempts?: number;
    labels?: Record<string, string>;
    parent?: string;
    idempotency_key?: string;
};
/** What became of one task of a batch: `task`, or the `problem` for which the node rejected it. */
export type BatchResult = {
    status: number;
    task?: TaskInfo;
    replayed?: boolean;
    problem?: Record<string, unknown>;
};
/** An event of a task. */
export type TaskEvent = {
    seq: number;
    at: string;
} & ({
    event: "state";
    state: TaskState;
    attempt: number;
    error: TaskError | null;
} | {
    event: "progress";
    text: string;
} | {
    event: "output";
    chunk: string;
} | {
    event: "asked";
    request: AgentRequest;
} | {
    event: "log";
    line: LogLine;
});
/** A stored context: its size, and the agents in which it is resident. */
export type ContextInfo = {
    id: string;
    pool: string;
    version: number;
    size_bytes: number;
    items: number;
    stored_bytes: number;
    shared_bytes: number;
    frames: number;
    updated_at: string;
    warm_on: string[];
};
/** The fields of a schedule; one of `cron`, `every` and `at` says when. */
export type ScheduleFields = {
    cron?: string | null;
    time_zone?: string | null;
    every?: string | null;
    starts_at?: string | null;
    at?: string | null;
    context?: string | null;
    priority?: number | null;
    timeout?: string | null;
    max_attempts?: number | null;
    labels?: Record<string, string> | null;
    expires_after?: string | null;
    overlap?: "skip" | "queue" | "cancel_running" | null;
    catch_up?: "none" | "latest" | "all" | null;
    jitter?: string | null;
    enabled?: boolean | null;
};
/** A schedule, and its next and last runs. */
export type Schedule = ScheduleFields & {
    name: string;
    pool: string;
    input: any;
    created_at: string;
    next_runs: string[];
    last_run: Record<string, unknown> | null;
    active: string[];
    fired: number;
    skipped: number;
    problem?: string;
};
