/**
 * Agents and clients of Forerunner: pools of warm agents that are ready before the queue spikes.
 *
 * Write an agent with `Agent`, and submit tasks with `Client`. The package needs Node alone.
 */
export { Agent } from "./agent.js";
export { Client } from "./client.js";
export { AgentError, ApiError, DependencyError, InvalidInput, TaskCancelled, TaskFailed, TooLarge, Unreachable, } from "./errors.js";
export { TaskWaits } from "./question.js";
export { Task } from "./task.js";
