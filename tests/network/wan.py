"""A line between two TUN devices: takes time, has a rate and a bounded buffer. Ends when its input does.

wan.py DEVICE DEVICE LATENCY_SECONDS MEGABITS

The devices are made here and may be moved into network namespaces afterwards. Each direction holds what the rate
carries in one round trip; what comes beyond that is dropped, as a router drops it.
"""
import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


first, second = tun(sys.argv[1]), tun(sys.argv[2])
latency, rate = float(sys.argv[3]), float(sys.argv[4]) * 1e6 / 8
room = rate * latency * 2
other = {first: second, second: first}
# Per source: when the line is free again, and packets with the time of their arrival.
free = {first: 0.0, second: 0.0}
queue = {first: collections.deque(), second: collections.deque()}
print("ready", flush=True)

while True:
    now = time.monotonic()
    for source, packets in queue.items():
        while packets and packets[0][0] <= now:
            try:
                os.write(other[source], packets.popleft()[1])
            except OSError:
                pass  # the device is not up, or its queue is full: lost, as on any line
    waits = [packets[0][0] - now for packets in queue.values() if packets]
    ready, _, _ = select.select([first, second, sys.stdin], [], [], min(waits, default=1.0))
    if sys.stdin in ready:
        break
    now = time.monotonic()
    for source in ready:
        for _ in range(64):
            try:
                packet = os.read(source, 2048)
            except OSError:
                break
            begins = max(free[source], now)
            if (begins - now) * rate > room:
                continue
            free[source] = begins + len(packet) / rate
            queue[source].append((free[source] + latency, packet))
