"""systemd's notification protocol: one datagram to the socket that it names."""

from __future__ import annotations

import os
import socket


def notify(**state: str) -> bool:
    """Tell systemd, e.g. ``notify(READY="1")``; False when nobody wants to know or can hear."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    if path.startswith("@"):
        path = "\0" + path[1:]  # a socket without a file
    text = "\n".join(f"{name}={' '.join(value.split())}" for name, value in state.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.connect(path)
            door.sendall(text.encode("utf-8", "replace"))
    except OSError:
        return False
    return True


def watchdog_s() -> float:
    """Within what time systemd wants a sign of life from this process; 0 when it does not."""
    try:
        if int(os.environ.get("WATCHDOG_PID") or os.getpid()) != os.getpid():
            return 0.0
        return int(os.environ.get("WATCHDOG_USEC") or 0) / 1e6
    except ValueError:
        return 0.0
