"""Which folders this process may no longer write to, as others have taken over their locks."""

from __future__ import annotations

import threading

from degflow_pipe.errors import FileError
from degflow_pipe.places.place import Remote

_taken: dict[Remote, str] = {}
"""By whom, for each folder."""
_lock = threading.Lock()


def lost(folder: Remote, to: str) -> None:
    """Let nothing more be written below a folder."""
    with _lock:
        _taken[folder] = to


def over(folder: Remote) -> None:
    """Whoever wrote there has ended: who does so next asks for the lock again."""
    with _lock:
        _taken.pop(folder, None)


def require(place: Remote) -> None:
    """Raises FileError where the lock of a folder that the place is in was lost."""
    with _lock:
        found = next((pair for pair in _taken.items() if place.is_relative_to(pair[0])), None)
    if found is not None:
        raise FileError(
            f"{found[0]}: {found[1]} has taken over its lock, so nothing more is written here: "
            f"what was noted before is kept"
        )
