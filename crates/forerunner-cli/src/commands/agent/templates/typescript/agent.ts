import { Agent } from "./forerunner/index.js";

export const agent = new Agent("{name}")
  .warmUp(async () => {
    console.log("load models and open connections here: this is the cold start");
  })
  .task(async (task) => {
    console.log("working on", task.id);
    const text = String(task.input);
    task.remember({ role: "user", text });
    return { text: text.toUpperCase(), turn: task.context.length };
  });

agent.serveIfMain(import.meta.url);
