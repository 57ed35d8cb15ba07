"""JSON that is too long to hold: the members of one array, one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim.formats.source import BOM, Source

__all__ = ["MAX_VALUE", "members"]

MAX_VALUE = 1 << 24
"""Characters of one member of the array, or of any other value of the file."""
SPACE = re.compile(r"[ \t\r\n]*")


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


class _Window:
    """The part of the text that has not been taken."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = ""
        self.at = 0
        self.before = 0  # lines that are no longer in `text`
        self.left = b""
        self.first = True

    def more(self) -> bool:
        block = self.source.read()
        if self.first:
            block, self.first = block.removeprefix(BOM), False
        data = self.left + block
        # a character may be cut in two at the end of a block
        cut = len(data)
        if block:
            while cut and len(data) - cut < 4 and data[cut - 1] & 0xC0 == 0x80:
                cut -= 1
            cut -= bool(cut and data[cut - 1] >= 0xC0)
        self.left = data[cut:]
        self.before += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :] + data[:cut].decode("utf-8", "replace"), 0
        return bool(block)

    def error(self, what: str) -> ConfigError:
        return self.source.error(what, line=self.before + self.text.count("\n", 0, self.at) + 1)

    def peek(self) -> str:
        while True:
            self.at = SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, wanted: str) -> str:
        char = self.peek()
        if not char or char not in wanted:
            raise self.error(f"expected one of {' '.join(wanted)}, got {char or 'the end of the file'!r}")
        self.at += 1
        return char

    def value(self) -> Any:
        """Take one value."""
        self.peek()
        while True:
            try:
                found, end = _DECODER.raw_decode(self.text, self.at)
            except RecursionError:
                raise self.error("is nested too deeply") from None
            except ValueError as error:
                if self._grow():
                    continue
                raise self.error(f"is no JSON: {str(error).partition(': line')[0]}") from None
            length = end - self.at
            if end < len(self.text) or not self.more():  # else a number may go on
                self.at += length
                return found

    def _grow(self) -> bool:
        if len(self.text) - self.at > MAX_VALUE:
            raise self.error(f"a value has more than {MAX_VALUE} characters")
        return self.more()


def members(source: Source, key: str, others: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Yield (index, member) of the array ``key`` of the object in the file, or of the array that the file is.

    Other values of the object are put in `others` once they are met.

    Raises
    ------
    ConfigError
        If the text is no JSON, has no such array, or one value in it is too long.
    """
    window = _Window(source)
    if window.peek() == "[":
        yield from _array(window)
        return
    window.take("{")
    found = False
    while window.peek() != "}":
        name = window.value()
        if not isinstance(name, str):
            raise window.error("a key must be a string")
        window.take(":")
        if name == key and window.peek() == "[":
            found = True
            yield from _array(window)
        else:
            others[name[:100]] = window.value()
            if len(others) > 1000:
                raise window.error("has more than 1000 keys beside the events")
        if window.take(",}") == "}":
            break
    if not found:
        raise window.error(f"has no array {key!r}; is it a trace of the PyTorch profiler?")


def _array(window: _Window) -> Iterator[tuple[int, Any]]:
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        return
    index = 0
    while True:
        yield index, window.value()
        index += 1
        if window.take(",]") == "]":
            return
