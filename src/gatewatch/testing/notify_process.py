"""A notify worker as a process of its own, to be killed: ``python -m gatewatch.testing.notify_process CONFIG``.

Prints ``ready`` when it has taken its partitions over. It is the role without its detectors: playbooks are not needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gatewatch import log as log_room
from gatewatch import settings as settings_module
from gatewatch.clock import SystemClock
from gatewatch.metrics import Metrics
from gatewatch.notify.build import receivers
from gatewatch.notify.worker import NotifyWorker
from gatewatch.settings import NotifySettings


def main(config: str) -> None:
    """Run until killed."""
    settings = settings_module.load(Path(config))
    clock = SystemClock()
    log = log_room.open_log(settings.kafka)
    to = receivers(settings.notify or NotifySettings(), clock)
    worker = NotifyWorker(log, settings, {}, to, member="notify-test-0", clock=clock, metrics=Metrics())
    ready = False
    while True:
        worker.step(0.1)
        if worker.assigned and not ready:
            ready = True
            sys.stdout.write("ready\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
