"""Agents that dial in with the package: remote_agent.py POOL FILE COUNT. They write the id of each task that they run."""
import os
import sys
import threading
import time

from forerunner import Agent

pool, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def serve():
    agent = Agent("remote")

    @agent.task
    def run(task):
        print(f"runs {task.input}")
        os.write(file, f"{task.id}\n".encode())
        time.sleep(task.input.get("seconds", 0))
        task.output("done")
        return {"echo": task.input}

    agent.serve(pool)


for _ in range(count - 1):
    threading.Thread(target=serve, daemon=True).start()
serve()
