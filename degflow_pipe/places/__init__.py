"""Where things lie: a path of this machine, or a URL of a file system that fsspec opens.

A user's text is made a place by `place_of`, and by nothing else. What is remote is written whole:
an object appears when all of it is there. It is read by ranges, and never appended to, renamed or
linked. Everything but this room opens places by `files`, `folders` and `ledger`. Credentials are
the file system's own; where they are in a URL they are shown nowhere.

It imports errors.
"""

from degflow_pipe.places.place import Remote, place_of, text_of
from degflow_pipe.places.telling import Unreachable

__all__ = ["Remote", "Unreachable", "place_of", "text_of"]
