"""A user's file: read in blocks, gzip or not, with bounds on what it may ask of memory and time."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from pyccl.errors import ConfigError

__all__ = ["BLOCK", "MAX_EXPANSION", "MAX_LINE", "Source", "show"]

BLOCK = 1 << 20
MAX_LINE = 1 << 16
MAX_EXPANSION = 300
"""How many times its size a gzip file may expand to; text that repeats itself reaches 100, zeros 1,000."""
FREE_EXPANSION = 1 << 24
BOM = b"\xef\xbb\xbf"


def show(text: bytes | str, limit: int = 60) -> str:
    """Return how an error quotes what stands in a file."""
    text = text[: limit + 1]
    shown = repr(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    return shown if len(text) <= limit else f"{shown[: limit + 1]}…'"


class Source:
    """A file that is open for reading; every failure is a ConfigError that names it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.line = 0
        self.taken = 0
        try:
            if not self.path.is_file():  # a pipe would be waited for
                raise OSError("it is no regular file" if self.path.exists() else "there is no such file")
            raw = self.path.open("rb")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path}: cannot be read: {error}") from error
        self._raw = raw
        self._file: BinaryIO = raw
        self.size = self.path.stat().st_size
        self._zipped = self._peek(2) == b"\x1f\x8b"
        if self._zipped:
            self._file = cast(BinaryIO, gzip.GzipFile(fileobj=raw))

    def _peek(self, count: int) -> bytes:
        try:
            head = self._raw.read(count)
            self._raw.seek(0)
        except OSError as error:
            self._raw.close()
            raise ConfigError(f"{self.path}: cannot be read: {error}") from error
        return head

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    def error(self, what: str, line: int | None = None, byte: int | None = None) -> ConfigError:
        """Return the error that says what is wrong where: at `line`, or at `byte`, or in the file."""
        where = f":{line}" if line is not None else f", byte {byte}" if byte is not None else ""
        return ConfigError(f"{self.path}{where}: {what}")

    def read(self, count: int = BLOCK) -> bytes:
        """Return up to `count` bytes of the expanded file, none at its end."""
        try:
            block = self._file.read(count)
        except (OSError, EOFError, zlib.error) as error:
            raise self.error(f"cannot be read: {error}") from error
        self.taken += len(block)
        if self._zipped and self.taken > FREE_EXPANSION + MAX_EXPANSION * self.size:
            raise self.error(f"expands to more than {MAX_EXPANSION} times its size; gunzip it and check what it is")
        return block

    def whole(self, limit: int) -> bytes:
        """Return the whole file, without a byte order mark."""
        data = bytearray()
        while block := self.read(min(BLOCK, limit + 1 - len(data))):
            data += block
            if len(data) > limit:
                raise self.error(f"has more than {limit} bytes, which is the most for this format")
        return bytes(data).removeprefix(BOM)

    def blocks(self) -> Iterator[bytes]:
        """Yield whole lines, about `BLOCK` bytes at a time, each with its end; `line` is how many went before."""
        rest, first = b"", True
        while block := self.read():
            if first:
                block, first = block.removeprefix(BOM), False
            cut = block.rfind(b"\n") + 1
            whole, rest = (rest + block[:cut], block[cut:]) if cut else (b"", rest + block)
            if len(rest) > MAX_LINE:
                raise self.error(f"the line is longer than {MAX_LINE} bytes", line=self.line + whole.count(b"\n") + 1)
            if whole:
                yield whole
                self.line += whole.count(b"\n")
        if rest:
            yield rest + b"\n"
            self.line += 1

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield (number, line) of a text that need not be fast."""
        for block in self.blocks():
            yield from enumerate(block.split(b"\n")[:-1], self.line + 1)
