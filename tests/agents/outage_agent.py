"""An agent whose model provider is down while a file exists: its tasks fail after 0.2 s, and each failure is written down."""
import json, os, sys, time

DOWN = sys.argv[1]


def send(number, **body):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": number, **body}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "initialize":
        send(request["id"], result={"protocol": 2, "agent": {"name": "outage"}})
    elif request["method"] == "task/run":
        if os.path.exists(DOWN):
            time.sleep(0.2)
            with open(DOWN + ".failures", "a") as failures:
                failures.write(f"{time.time()}\n")
            error = {"code": -32000, "message": "the provider answers 503", "data": {"retryable": True}}
            send(request["id"], error=error)
        else:
            time.sleep(request["params"]["input"])
            send(request["id"], result={"output": time.time()})
    else:
        send(request["id"], result={})
        if request["method"] == "shutdown":
            break
