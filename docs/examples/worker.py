"""Scores orders among Multilith's events: a worker for a queue of docs/workers.md. Debian: python3-stomp."""
import json
import os
import socket
import sys
import time

import stomp

SETTINGS = {"PREFIX": "multilith", "QUEUE": "worker.scores", "BROKER": "127.0.0.1", "PORT": "61613", "LOGIN": None, "PASSCODE": None}
PREFIX, QUEUE, HOST, PORT, LOGIN, PASSCODE = (os.environ.get(name, default) for name, default in SETTINGS.items())


class Worker(stomp.ConnectionListener):
    def on_message(self, frame):
        job, reason = frame.headers, ""
        transaction = broker.begin()
        try:
            event = {name: job[name] for name in ("workspace", "key", "traceparent") if name in job}
            event |= {"id": f"{job['id']}.scored", "persistent": "true"}
            scored = json.dumps({"score": score(json.loads(frame.body)["properties"])})
            broker.send(f"/queue/{PREFIX}.event.worker.scored", scored, headers=event, transaction=transaction)
            outcome = "done"
        except ValueError as error:  # another try may help
            outcome, reason = "retry", str(error)
        except Exception as error:  # another try cannot help
            outcome, reason = "dead", repr(error)
        answer = {"hand": job["hand"], "outcome": outcome, "persistent": "true"}
        broker.send(f"/queue/{PREFIX}.done", reason, headers=answer, transaction=transaction)
        broker.ack(job["ack"], transaction=transaction)
        broker.commit(transaction)


def score(properties):
    if properties["total"] < 0:
        raise ValueError(f"a total of {properties['total']}")
    return properties["total"] // 10


broker = stomp.Connection12([(HOST, int(PORT))], heartbeats=(10000, 0))
broker.set_listener("worker", Worker())
broker.connect(LOGIN, PASSCODE, wait=True)
broker.transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else 40 ms for each message
broker.subscribe(f"/queue/{PREFIX}.work.{QUEUE}", id="1", ack="client", headers={"activemq.prefetchSize": "1"})
while broker.is_connected():
    time.sleep(1)
sys.exit("The broker is away. Start me again.")
