"""The system that runs the agents of the pool `gpu`: fleet.py DIRECTORY AGENTS makes it run that many, and ends.

DIRECTORY/address has the address of the node; without that file the system is away. DIRECTORY/fleet has its processes,
DIRECTORY/asked the numbers that it was asked for.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys

directory, agents = pathlib.Path(sys.argv[1]), int(sys.argv[2])
address = directory / "address"
if not address.exists():
    sys.exit("the cluster is away")


def is_there(pid):
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


fleet = directory / "fleet"
running = [pid for pid in json.loads(fleet.read_text()) if is_there(pid)] if fleet.exists() else []
for pid in running[agents:]:
    os.kill(pid, signal.SIGTERM)
running = running[:agents]
script = pathlib.Path(__file__).with_name("remote_agent.py")
environment = {**os.environ, "FORERUNNER_SERVER": address.read_text(), "PYTHONPATH": str(directory / "package")}
while len(running) < agents:
    command = [sys.executable, "-B", str(script), "gpu", str(directory / "ran"), "1"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running.append(subprocess.Popen(command, env=environment, start_new_session=True, **quiet).pid)
fleet.write_text(json.dumps(running))
with (directory / "asked").open("a") as asked:
    asked.write(f"{agents}\n")
