/** What an agent asks of a person. */
import { createHash } from "node:crypto";
/** Ends a task function that asked: the task waits for the answer, and the function then runs anew. */
export class TaskWaits extends Error {
    question;
    constructor(question) {
        super(`the task waits for the answer to: ${question.prompt}`);
        this.name = "TaskWaits";
        this.question = question;
    }
}
/** The questions of one run, and the answers to those of earlier runs. */
export class Questions {
    /** The question that nobody has answered. A function that catches everything waits as well. */
    open;
    #answers = new Map();
    #times = new Map();
    constructor(requests) {
        for (const asked of requests)
            if ("answer" in asked)
                this.#answers.set(asked.key, asked.answer);
    }
    /** Returns the answer, or throws `TaskWaits`. */
    ask(prompt, options) {
        const listed = options.options?.map((option) => (typeof option === "string" ? { id: option } : option));
        const kind = options.kind ?? "question";
        const key = options.key ?? this.#keyOf(JSON.stringify([kind, prompt, (listed ?? []).map(({ id }) => id)]));
        if (this.#answers.has(key))
            return this.#answers.get(key);
        const question = { prompt, kind, key };
        if (listed?.length)
            question.options = listed;
        if (options.schema !== undefined)
            question.schema = options.schema;
        if (options.details !== undefined)
            question.details = options.details;
        if (options.timeoutS !== undefined)
            question.timeout_s = options.timeoutS;
        this.open = question;
        throw new TaskWaits(question);
    }
    /** A question that a function asks again, as in a loop, is another question. */
    #keyOf(text) {
        const hash = createHash("sha256").update(text).digest("hex").slice(0, 32);
        const times = (this.#times.get(hash) ?? 0) + 1;
        this.#times.set(hash, times);
        return times === 1 ? hash : `${hash}-${times}`;
    }
}
