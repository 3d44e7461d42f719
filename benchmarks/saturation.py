"""What the heartbeat of the event loop costs a request, and a process that has nothing to do."""

import json
import subprocess
import sys

from benchmarks.progress import bar
from benchmarks.table import Table, spread

# In processes of their own, in turn. The event loop turns between the requests, so that the
# heartbeats that are due come, and the requests pay for them.
_MEASURE = """
import asyncio, json, time, uvloop
import telemetry
from benchmarks.peers import application
from benchmarks.request import microseconds
from telemetry.instrumentation.saturation.loop import LoopDelay

if not {heartbeat}:
    LoopDelay.watch = lambda self: None

async def main():
    app = application(plain=True)
    bare = app.build_middleware_stack()
    telemetry.instrument(app)
    measured = app.build_middleware_stack()
    added = []
    for turn in range({turns} + 3):
        spent = dict()
        for stack in (bare, measured) if turn % 2 else (measured, bare):
            app.middleware_stack = stack
            began = time.thread_time()
            for _ in range(8):
                await microseconds(app, 64)
                await asyncio.sleep(0)
            spent[stack] = (time.thread_time() - began) / 512 * 1e6
        if turn >= 3:
            added.append(spent[measured] - spent[bare])
    began = time.process_time()
    await asyncio.sleep({idle})
    print(json.dumps([added, (time.process_time() - began) / {idle} * 1e3]))

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


def run(short: bool) -> Table:
    """With the heartbeat and without, which nobody can choose."""
    table = Table(
        "The heartbeat of the event loop",
        ["", "added by this project to one request, µs", "a process at rest, ms a second"],
        "Processor time, of which a second has 1,000 ms for each processor. What else is measured "
        "of saturation is read at a scrape only.",
    )
    names = {"with it": True, "without it": False}
    added: dict[str, list[float]] = {name: [] for name in names}
    idle: dict[str, list[float]] = {name: [] for name in names}
    for _ in bar(range(1 if short else 5), "saturation"):
        for name, heartbeat in names.items():
            code = _MEASURE.format(
                heartbeat=heartbeat, turns=3 if short else 60, idle=1 if short else 5
            )
            output = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
            requests, rest = json.loads(output)
            added[name] += requests
            idle[name].append(rest)
    for name in names:
        table.rows.append([name, spread(added[name]), spread(idle[name], 2)])
    return table
