/**
 * Agents and clients of Forerunner: pools of warm agents that are ready before the queue spikes.
 *
 * Write an agent with `Agent`, and submit tasks with `Client`. The package needs Node alone.
 */
export { Agent, type TaskFunction, type TestRun } from "./agent.js";
export { type CallOptions, Client, type Filters, type WaitOptions } from "./client.js";
export type { Change, Step } from "./context.js";
export { AgentError, ApiError, DependencyError, InvalidInput, TaskCancelled, TaskFailed, TooLarge, Unreachable, } from "./errors.js";
export { type AskOptions, type Option, type Question, TaskWaits } from "./question.js";
export { type LogLevel, Task } from "./task.js";
export type { ClientOptions } from "./transport.js";
export type * from "./views.js";
