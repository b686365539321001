"""What a token costs the load generator: processor time per event, with many streams at once.

python tests/bench/bench_load.py [streams]
"""

import asyncio
import multiprocessing
import sys

import numpy as np

from adapter_operator.load.measuring import measure
from adapter_operator.load.payload import PayloadRules, Payloads
from adapter_operator.load.sending import Sender, SendingRules
from adapter_operator.load.target import Endpoint, Target
from adapter_operator.load.traffic import Phase, Traffic
from adapter_twin.workload import Adapter, Requests

DURATION_S = 10.0
PROMPT_TOKENS, OUTPUT_TOKENS = 250, 100
GAP_S = 0.05
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"cmpl-0123456789abcdef","object":"text_completion","created":1700000000,"model":"a",'
    b'"choices":[{"index":0,"text":" word","logprobs":null,"finish_reason":%b,"stop_reason":null}]}\n\n'
)


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


TOKEN = chunk(EVENT % b"null")
LAST = chunk(EVENT % b'"length"') + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Streams(asyncio.Protocol):
    """Answers every request with the same tokens; all streams get one at a time."""

    def __init__(self, live):
        self.live = live

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        self.live.pop(self.transport, None)

    def data_received(self, data):
        if data.startswith(b"POST"):
            self.transport.write(HEAD)
            self.live[self.transport] = OUTPUT_TOKENS


async def stream(pipe):
    live = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Streams(live), "127.0.0.1", 0, backlog=4096)
    pipe.send(server.sockets[0].getsockname()[1])
    while True:
        await asyncio.sleep(GAP_S)
        for transport, left in list(live.items()):
            transport.write(TOKEN if left > 1 else LAST)
            live[transport] = left - 1
            if left == 1:
                del live[transport]


def serve(pipe):
    asyncio.run(stream(pipe))


async def send(port, traffic):
    payloads = Payloads(traffic, PayloadRules(), 0)
    sender = Sender(
        Target.at(f"http://127.0.0.1:{port}"), traffic, payloads, SendingRules(Endpoint.COMPLETIONS)
    )
    return await sender.send()


def main():
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    rate = streams / (OUTPUT_TOKENS * GAP_S)
    arrival_s = np.arange(int(rate * DURATION_S)) / rate
    lengths = (np.full(arrival_s.size, PROMPT_TOKENS), np.full(arrival_s.size, OUTPUT_TOKENS))
    requests = Requests(arrival_s, *lengths, np.zeros(arrival_s.size))
    traffic = Traffic((Adapter("a", rate, 8),), requests, DURATION_S, (Phase("", 0.0, DURATION_S),))
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    run = asyncio.run(send(here.recv(), traffic))
    server.terminate()
    figures = measure(run, traffic, speed_up=1.0, late_after_s=0.05)
    events = sum(record.gaps + 1 for record in run.records)
    cpu_us = 1e6 * run.cpu_s / events
    print(f"{streams} streams: {events / run.real_s:,.0f} tokens/s, {cpu_us:.1f} us of CPU each")
    lateness_ms = 1000 * figures.client.lateness_p99_s
    print(f"{figures.client.cpu_share:.0%} of a core; sent late: p99 {lateness_ms:.1f} ms")


if __name__ == "__main__":
    main()
