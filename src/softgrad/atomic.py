"""Files that are whole or absent: written beside their place under another name, then put there in one step.

What a killed run leaves behind is a file called `.softgrad-*.tmp`; the next run sweeps it. A lock held while writing
tells such an orphan from a file that another living run is writing: the system lets go of the lock when its holder
dies, however it dies.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: an open file cannot be removed there, which serves as the lock
    fcntl = None

PREFIX, SUFFIX = ".softgrad-", ".tmp"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends well, and else leaves no trace.

    temporary file in the same folder -> block -> flush, fsync -> os.replace -> fsync of the folder.
    At any moment `path` holds its old bytes or all of the new ones. Raises OSError as `open` does.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as file:
    ...         _ = file.write(b"whole")
    ...     [(entry.name, entry.read_text()) for entry in Path(folder).iterdir()]
    [('a.txt', 'whole')]
    """
    place = Path(os.path.realpath(path))  # a link stays a link, and what it points to is replaced
    temporary = place.with_name(f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")
    # not tempfile: its files are private to the owner (0600), while a result should follow the umask
    file = os.fdopen(_create(temporary, place), "wb")
    try:
        with file:
            _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl:  # still locked here, so that no sweep can take the file before it is in place
                temporary.replace(place)
        if not fcntl:
            temporary.replace(place)
        _fsync_folder(place.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all; lines end as they do in `text`."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def sweep(folder: str | os.PathLike[str]) -> int:
    """Remove what killed runs left in `folder`, not what living runs write; returns the number removed."""
    removed = 0
    for orphan in Path(folder).glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError), orphan.open("rb") as file:
            _lock(file, waiting_is_fine=False)
            orphan.unlink()
            removed += 1
    return removed


def _create(temporary: Path, place: Path) -> int:
    try:
        return os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:  # the user knows the file that was asked for, not our temporary name
        raise type(error)(error.errno, error.strerror, str(place)) from None


def _lock(file: BinaryIO, waiting_is_fine: bool = True) -> None:
    """Hold the lock of `file`; a file system without locks is no obstacle to writing, but stops a sweep."""
    if not fcntl:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if not waiting_is_fine:
            raise


def _fsync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
