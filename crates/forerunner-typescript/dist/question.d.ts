/** What an agent asks of a person. */
/** One way to answer: its id, or an object with `name` and `kind` if they help. */
export type Option = string | {
    id: string;
    name?: string;
    kind?: string;
};
export type AskOptions = {
    /** The ways to answer. Without any, every JSON value is an answer. */
    options?: readonly Option[];
    kind?: "question" | "permission";
    /** A JSON schema of the answer. */
    schema?: unknown;
    /** What the question is about. */
    details?: unknown;
    /** How long the task waits for the answer, in seconds. */
    timeoutS?: number;
    /** The same for the same question; else the package makes one. */
    key?: string;
};
/** A question as the protocol has it. */
export type Question = {
    prompt: string;
    kind: string;
    key: string;
    options?: {
        id: string;
        name?: string;
        kind?: string;
    }[];
    schema?: unknown;
    details?: unknown;
    timeout_s?: number;
};
export type Asked = {
    key: string;
    answer?: unknown;
};
/** Ends a task function that asked: the task waits for the answer, and the function then runs anew. */
export declare class TaskWaits extends Error {
    readonly question: Question;
    constructor(question: Question);
}
/** The questions of one run, and the answers to those of earlier runs. */
export declare class Questions {
    #private;
    /** The question that nobody has answered. A function that catches everything waits as well. */
    open: Question | undefined;
    constructor(requests: readonly Asked[]);
    /** Returns the answer, or throws `TaskWaits`. */
    ask(prompt: string, options: AskOptions): any;
}
