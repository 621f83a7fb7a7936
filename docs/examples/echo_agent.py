from forerunner import Agent

agent = Agent("echo")


@agent.task
def echo(task):
    words = str(task.input).split()
    for word in words:
        task.output(word + " ")
        task.sleep(0.05)
    task.progress(f"echoed {len(words)} words")
    task.remember({"role": "user", "text": task.input}, {"role": "agent", "text": task.input})
    return {"echo": task.input, "turn": len(task.context) // 2}


agent.serve()
