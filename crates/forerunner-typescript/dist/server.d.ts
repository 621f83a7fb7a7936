/** Serves the requests of a node: the other side of `docs/agent-protocol.md`. */
import type { Agent } from "./agent.js";
/** Runs an agent on standard input and output until the node stops it. */
export declare class Server {
    #private;
    constructor(agent: Agent, write: (line: string) => void);
    /** Answers requests in their order; `task/cancel` alone while a task runs. */
    serve(): Promise<void>;
}
/** Ends the process because of an error that leaves the agent without use. */
export declare function endProcess(error: unknown): never;
/**
 * Returns a function that writes to the node. Everything else that writes to standard output, such as `console.log`,
 * writes to standard error from now on, the log.
 */
export declare function claimStandardOutput(): (line: string) => void;
