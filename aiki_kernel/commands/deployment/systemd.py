"""systemd user units: both daemons, kept running, and shut in.

The daemons need the network, threads, their own home and the runtime folder; everything else
that systemd can take away is taken (``systemd-analyze security --user --offline=true`` judges
it). ``PrivateUsers`` is what lets a user's own manager do the rest without root.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiki_kernel.commands.deployment.place import Made, Place

MEMORY = "aiki-memory-daemon.service"
HEALTH = "aiki-health-daemon.service"

SHUT_IN = """\
NoNewPrivileges=yes
PrivateUsers=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
LockPersonality=yes
MemoryDenyWriteExecute=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @obsolete @debug @mount @swap @reboot @raw-io @clock @module
SystemCallErrorNumber=EPERM
RemoveIPC=no
UMask=0077
KeyringMode=private
"""


def units(place: Place) -> list[Made]:
    """The two units."""
    return [
        Made(MEMORY, _memory(place)),
        Made(HEALTH, _health(place)),
    ]


def folder() -> Path:
    """Where a user's units live."""
    import os

    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "systemd" / "user"


def _memory(place: Place) -> str:
    return f"""\
[Unit]
Description=AIKI memory daemon: the memory and the models of this machine
Documentation=man:systemd.service(5)
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command([*place.aiki, "daemon", "run"])}
Environment={assignment("AIKI_HOME", str(place.home))}
Restart=on-failure
RestartSec=2
TimeoutStopSec=40
OOMScoreAdjust=200
ReadWritePaths={path(place.home)} %t
{SHUT_IN}
[Install]
WantedBy=default.target
"""


def _health(place: Place) -> str:
    return f"""\
[Unit]
Description=AIKI health daemon: watches the memory, the models and this machine
Documentation=man:systemd.service(5)
After={MEMORY}
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=300
ExecStart={command([*place.aiki, "health", "daemon"])}
Environment={assignment("AIKI_HOME", str(place.home))}
Restart=always
RestartSec=5
Nice=10
MemoryHigh=64M
MemoryMax=128M
TasksMax=64
ReadWritePaths={path(place.home)} %t
{SHUT_IN}
[Install]
WantedBy=default.target
"""


def command(words: Sequence[str]) -> str:
    """An ``ExecStart`` line: ``%`` and ``$`` are systemd's, white space parts words."""
    return " ".join(_quoted(word, dollars=True) for word in words)


def assignment(name: str, value: str) -> str:
    """An ``Environment`` value; a dollar sign means itself there."""
    return _quoted(f"{name}={value}")


def path(value: Path) -> str:
    """A path in a list of paths; a leading minus says that it may be missing."""
    return _quoted(f"-{value}")


def _quoted(word: str, *, dollars: bool = False) -> str:
    safe = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if dollars:
        safe = safe.replace("$", "$$")
    return f'"{safe}"' if safe != word or any(c.isspace() or c in "';" for c in word) else word
