"""An agent that runs its input as Python and answers with what that leaves in `out`."""
import json, sys


def answer(number, result):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "initialize":
        answer(request["id"], {"protocol": 2, "agent": {"name": "python"}})
    elif request["method"] == "task/run":
        scope = {}
        exec(request["params"]["input"], scope)
        answer(request["id"], {"output": scope.get("out")})
    else:
        answer(request["id"], {})
        if request["method"] == "shutdown":
            break
