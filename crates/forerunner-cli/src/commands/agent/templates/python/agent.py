from forerunner import Agent, Task

agent = Agent("{name}")


@agent.warm_up
def load():
    print("load models and open connections here: this is the cold start")


@agent.task
def turn(task: Task):
    print("working on", task.id)
    task.remember({"role": "user", "text": task.input})
    return {"text": task.input.upper(), "turn": len(task.context)}


if __name__ == "__main__":
    agent.serve()
