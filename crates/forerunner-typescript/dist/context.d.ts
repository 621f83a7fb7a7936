/**
 * Contexts that an agent has in memory, and the change that a task made to one.
 *
 * Items are stored as JSON text. A task gets a copy, so a task that fails leaves the items as they were.
 */
export type Step = {
    copy: [number, number];
} | {
    insert: unknown[];
};
export type Change = {
    append: unknown[];
} | {
    edit: Step[];
} | {
    replace: unknown[];
};
export type ContextRef = {
    id: string;
    version: number;
    items: number;
};
/** The agent does not have the context in the version that the node builds on. */
export declare class MissingContext extends Error {
}
/** Returns a value as JSON on one line, and refuses what is none. */
export declare function encode(value: unknown): string;
/** The contexts of an agent: for each id, the version that the node named last, and the items. */
export declare class Contexts {
    #private;
    /** Applies `context/load`. */
    load(params: {
        id: string;
        version: number;
        base: number | null;
        items?: unknown[];
        edit?: Step[];
    }): void;
    /** Applies `context/drop`. */
    drop(id: string): void;
    /** Returns the items for a task, and notes their version. */
    begin(context: ContextRef | null): string[];
    /** Adopts the items of a task that succeeded. The next request of the node names their version. */
    commit(context: ContextRef, items: string[]): void;
}
/** Returns the items that the steps of an edit lead to. */
export declare function applyEdit(id: string, items: readonly string[], steps: readonly Step[]): string[];
/** Returns the change from old items to new ones as the protocol has it; `undefined` if there is none. */
export declare function difference(old: readonly string[], next: readonly string[]): Change | undefined;
