"""Producers and consumers killed at random moments: every confirmed message is accounted for."""

import os
import random
import signal
import subprocess
import sys
import time

from aimq.broker.sqlite import SqliteBroker
from aimq.settings import Settings

SEED = 20260131
KILLS = 16
PATIENCE = 30

#: One line per event, appended in one write each, so that the ledger's order is the order of time.
LEDGER = """
import os, sys, time
from random import Random
from aimq.broker.sqlite import SqliteBroker
from aimq.broker.port import Failure
from aimq.settings import Settings

folder, seed = sys.argv[1], sys.argv[2]
random = Random(seed)
ledger = os.open(f"{folder}/ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
broker = SqliteBroker(Settings(data_dir=folder, lease_seconds=0.5))

def note(event, message_id):
    os.write(ledger, f"{event} {message_id}\\n".encode())

note("started", seed)
"""

PRODUCER = f"""{LEDGER}
for number in range(1_000_000):
    futures = {{}}
    for each in range(random.randint(1, 20)):
        name = f"{{seed}}-{{number}}-{{each}}"
        futures[name] = broker.publish_body("q", b"x" * random.randint(0, 3000), name)
    for name, future in futures.items():
        future.result()
        note("confirmed", name)
    time.sleep(0.01)  # producers would outrun consumers
"""

CONSUMER = f"""{LEDGER}
subscription = broker.subscribe("q", prefetch=20)
failure = Failure(error="drawn", error_type="Drawn")
while True:
    for delivery in subscription.receive(random.randint(1, 20)):
        note("received", delivery.message_id)
        draw = random.random()
        if draw < 0.05:
            subscription.retry(delivery, random.random() / 5, failure).result()
        elif draw < 0.1:
            subscription.requeue(delivery).result()
        elif draw < 0.15:
            if subscription.dead_letter(delivery, failure).result():
                note("dead", delivery.message_id)
        elif subscription.ack(delivery).result():
            note("acked", delivery.message_id)
"""


def start(code, folder, seed):
    return subprocess.Popen([sys.executable, "-c", code, str(folder), seed])


def until_started(folder, name):
    ledger, deadline = folder / "ledger", time.monotonic() + PATIENCE
    while not ledger.exists() or f"started {name}\n" not in ledger.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_at_random(folder):
    """Keep two producers and two consumers going, killing one at a time."""
    chance = random.Random(SEED)
    codes = [PRODUCER, PRODUCER, CONSUMER, CONSUMER]
    names = [f"p{n}" for n in range(len(codes))]
    running = [start(code, folder, name) for code, name in zip(codes, names, strict=True)]
    for kill in range(KILLS):
        victim = chance.randrange(len(running))
        until_started(folder, names[victim])
        time.sleep(chance.uniform(0.0, 0.4))  # the moment of death is what is tested
        running[victim].send_signal(signal.SIGKILL)
        assert running[victim].wait(PATIENCE) == -signal.SIGKILL, "it had died of itself"
        names[victim] = f"r{kill}"
        running[victim] = start(codes[victim], folder, names[victim])
    for process in running:
        process.kill()
        process.wait(PATIENCE)


def drain(broker, note):
    subscription = broker.subscribe("q", prefetch=1000)
    acks = {}
    deadline = time.monotonic() + PATIENCE
    while broker.counts("q").ready + broker.counts("q").held + broker.counts("q").delayed:
        assert time.monotonic() < deadline
        for delivery in subscription.receive(1000, timeout=0.1):
            note("received", delivery.message_id)
            acks[delivery.message_id] = subscription.ack(delivery)
    for name, ack in acks.items():
        assert ack.result(PATIENCE)
        note("acked", name)


def test_every_confirmed_message_is_accounted_for_whatever_is_killed(tmp_path):
    kill_at_random(tmp_path)
    broker = SqliteBroker(Settings(data_dir=tmp_path, lease_seconds=0.5))
    ledger = os.open(tmp_path / "ledger", os.O_WRONLY | os.O_APPEND)

    drain(broker, lambda event, name: os.write(ledger, f"{event} {name}\n".encode()))

    os.close(ledger)
    dead = {letter.message_id for letter in broker.dead_letters("q", limit=1_000_000)}
    broker.close()
    lines = (tmp_path / "ledger").read_text().split("\n")[:-1]
    finished: set[str] = set()
    confirmed, received, settled_twice = set(), set(), []
    for line in lines:
        event, name = line.split()
        if event == "started":
            continue
        if event == "confirmed":
            confirmed.add(name)
        elif event == "received":
            received.add(name)
            if name in finished:
                settled_twice.append(name)
        else:
            finished.add(name)
    assert len(confirmed) > 100
    assert confirmed <= received, "a confirmed message was lost"
    assert settled_twice == [], "a message came again after it was settled for good"
    assert {line.split()[1] for line in lines if line.startswith("dead ")} <= dead
    assert not dead & {line.split()[1] for line in lines if line.startswith("acked ")}
