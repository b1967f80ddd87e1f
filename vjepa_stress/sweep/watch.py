"""Watch a launch: show one progress bar over all of its jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vjepa_stress.records.progress import Counter
from vjepa_stress.sweep.launch import Launch
from vjepa_stress.sweep.progress import progress

_SECONDS = 1.0


@contextmanager
def shown(launch: Launch) -> Iterator[None]:
    """Show the progress of a launch on standard error while the block runs."""
    counter = Counter(launch.attempt_folder, launch.outline)
    stop = threading.Event()
    with progress(f"{launch.study}: clips", counter.count().all_units) as advance:
        done = 0

        def look() -> None:
            nonlocal done
            now = counter.count()
            for _ in range(now.units - done):
                done += 1
                advance(f"{now.cells} of {now.all_cells} cells complete")

        def watch() -> None:
            while not stop.wait(_SECONDS):
                with suppress(OSError):
                    look()

        look()
        thread = threading.Thread(target=watch, daemon=True, name="progress")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with suppress(OSError):
                look()
