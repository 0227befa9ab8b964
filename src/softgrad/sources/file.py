"""One file, remembered as it was found: every later read makes sure that it still is the same.

No mmap: a file that is cut off while it is mapped kills the process with SIGBUS. A read that comes up short raises an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from softgrad.arrays import SoftgradError, refuse

AT_ONCE = 1 << 30  # bytes of one call of the system, which takes no more than 2 GiB
Fill = Callable[[int, Any], None]


@dataclass(frozen=True)
class File:
    """A path; device, inode, bytes and time of change of what lay there; and who deletes it in the end, if anybody does."""

    path: Path
    state: tuple[int, int, int, int]
    owner: Any = field(default=None, compare=False, repr=False)

    @property
    def size(self) -> int:
        return self.state[2]

    @contextmanager
    def unchanged(self) -> Iterator[FileIO]:
        """The open file; it is checked before and after."""
        try:
            with FileIO(self.path) as file:
                self._check(file.fileno())
                yield file
                self._check(file.fileno())
        except OSError as error:
            raise _unreadable(self.path, error) from error

    @contextmanager
    def opened(self) -> Iterator[Fill]:
        """fill(offset, buffer) inside the block reads as many bytes as the buffer holds; the file is checked before and after."""
        with self.unchanged() as file:

            def fill(offset: int, buffer: Any) -> None:
                rest = memoryview(buffer).cast("B") if buffer.nbytes else memoryview(b"")  # a view of nothing cannot be cast
                file.seek(offset)
                while len(rest):
                    got = file.readinto(rest[:AT_ONCE])
                    if not got:
                        self._check(file.fileno())  # says how short it has become
                        self.too_short(offset + buffer.nbytes)
                    rest = rest[got:]

            yield fill

    def expect(self, size: int) -> None:
        """Raise where the file has fewer bytes than what it says of itself asks for."""
        if self.size < size:
            self.too_short(size)

    def too_short(self, size: int) -> None:
        """Raise for a file that is cut off."""
        refuse(str(self.path), f"by its header the file has at least {size} bytes", f"{self.size}", "it is truncated, get it again")

    def _check(self, fd: int) -> None:
        now = _state(os.fstat(fd))
        if now != self.state:
            came = f"{now[2]} bytes instead of {self.size}" if now[2] != self.size else "one that was written to or replaced"
            refuse(str(self.path), "the file must stay as it was when it was opened", came, "open it again when it is whole")


def _state(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> SoftgradError:
    return SoftgradError(f"{path}: the file must be readable; got {error.strerror or error}; check its place and its permissions.")


def remember(path: str | os.PathLike[str], owner: Any = None) -> File:
    """The file as it is now; raises SoftgradError where there is none."""
    place = Path(path).absolute()
    try:
        return File(place, _state(place.stat()), owner)
    except OSError as error:
        raise _unreadable(place, error) from error
