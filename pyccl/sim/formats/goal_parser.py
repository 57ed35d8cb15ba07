"""The parser of GOAL text.

Lines that differ only in their numbers have one *form*: ``l0: send 0b to 0 tag 0`` stands for all of its kind. A form
is matched against the grammar once; the numbers of a block are read by NumPy all together, then handed to the fields.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pyccl.errors import ConfigError
from pyccl.sim.formats.goal_rank import MAX_NUMBER, BadStatementError, RankNodes
from pyccl.sim.formats.source import Source, show
from pyccl.sim.recorder import MAX_NODES
from pyccl.sim.trace import MAX_RANKS, Array, Columns

__all__ = ["Parser"]

MAX_FORMS = 4096
MAX_DIGITS = 18
TOO_LARGE = (1 << 63) - 1
TO_ZERO = bytes(48 if chr(c).isdigit() and c < 128 else c for c in range(256))
LABEL = rb"[A-Za-z_]\w*"
STATEMENT = re.compile(
    rb"\s*(?:(?P<label>" + LABEL + rb")\s*:\s*)?"
    rb"(?:send\s+(?P<size>\d+)b\s+to\s+(?P<dest>\d+)|recv\s+(?P<space>\d+)b\s+from\s+(?P<source>-?\d+)|calc\s+(?P<ns>\d+))"
    rb"(?:\s+tag\s+(?P<tag>-?\d+))?(?:\s+cpu\s+(?P<cpu>\d+))?(?:\s+nic\s+(?P<nic>\d+))?\s*",
    re.ASCII,
)
REQUIRES = re.compile(
    rb"\s*(?P<first>" + LABEL + rb")\s+(?P<verb>i?requires)\s+(?P<second>" + LABEL + rb")\s*", re.ASCII
)
EXAMPLE = "write 'l1: send 8b to 0 tag 1 cpu 0', 'l2: recv 8b from 0 tag 1', 'l3: calc 100' or 'l2 requires l1'"


@dataclass(frozen=True)
class Form:
    """What lines of one form say: the verb, and which of their numbers (in order) is which field.

    A field's number is -1 where it has none; `labels` are the texts before the labels' numbers, None for a label
    with several numbers, which must be looked at itself.
    """

    verb: str  # send, recv, calc, requires, irequires, blank or other
    numbers: int
    fields: dict[str, int]
    negative: frozenset[str]
    labels: dict[str, bytes | None]


def form_of(line: bytes) -> Form:
    """Return the form of a line whose every number has become one 0."""
    zeros = [found.start() for found in re.finditer(rb"0", line)]
    match = REQUIRES.fullmatch(line)
    verb = match["verb"].decode() if match else ""
    if not match:
        match = STATEMENT.fullmatch(line)
        if not match:
            return Form("other" if line.strip() else "blank", len(zeros), {}, frozenset(), {})
        verb = "send" if match["size"] else "recv" if match["space"] else "calc"
    fields, labels, negative = {}, {}, set()
    for name, text in match.groupdict().items():
        if text is None or name == "verb":
            continue
        inside = [i for i, at in enumerate(zeros) if match.start(name) <= at < match.end(name)]
        fields[name] = inside[0] if inside else -1
        if name in ("label", "first", "second"):
            simple = len(inside) <= 1 and text.endswith(b"0") == bool(inside)
            labels[name] = text.rstrip(b"0") if simple else None
        elif text.startswith(b"-"):
            negative.add(name)
    return Form(verb, len(zeros), fields, frozenset(negative), labels)


def read_numbers(block: bytes) -> tuple[Array, Array]:
    """Return all digit runs as int64, `TOO_LARGE` for what is longer than `MAX_DIGITS`; and whether each begins with a
    0 that says nothing."""
    text = np.frombuffer(block, np.uint8)
    digits = np.zeros(len(text) + 2, np.int8)
    digits[1:-1] = (text - np.uint8(48)) < 10
    change = np.diff(digits)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    lengths = ends - starts
    values = np.zeros(len(starts), np.int64)
    for k in range(min(int(lengths.max(initial=0)), MAX_DIGITS)):
        live = lengths > k
        if live.all():
            values = values * 10 + (text[starts + k] - np.uint8(48))
        else:
            values[live] = values[live] * 10 + (text[starts[live] + k] - np.uint8(48))
    values[lengths > MAX_DIGITS] = TOO_LARGE
    return values, (lengths > 1) & (text[starts] == 48) if len(starts) else np.zeros(0, np.bool_)


class Parser:
    """One pass over the text; `ranks` yields each rank at its end."""

    def __init__(self, source: Source, skipped: Counter[str]) -> None:
        self.source = source
        self.skipped = skipped
        self.size = 0
        self.rank = -1
        self.opened = False
        self.seen: set[int] = set()
        self.comment = 0  # the line where an open comment began
        self.line = 0
        self.nodes = RankNodes(0, 0)
        self.total = 0
        self.forms: list[Form] = []
        self.known: dict[bytes, int] = {}

    def ranks(self) -> Iterator[tuple[int, Columns]]:
        """Yield (rank, columns) in the order of the text."""
        for block in self.source.blocks():
            yield from self._block(block)
        if self.comment:
            raise self.source.error("the comment is never closed; write '*/'", line=self.comment)
        if self.size == 0:
            raise self.source.error("expected 'num_ranks N', got the end of the file", line=self.source.line)
        if self.rank >= 0:
            raise self.source.error(f"the file ends inside rank {self.rank}; write '}}'", line=self.source.line)

    def _error(self, what: str, line: int | None = None) -> ConfigError:
        return self.source.error(what, line=self.line if line is None else line)

    def _block(self, block: bytes) -> Iterator[tuple[int, Columns]]:
        forms = self._forms(block)
        counts = np.array([form.numbers for form in self.forms], np.int64)[forms]
        first = np.zeros(len(forms), np.int64)
        np.cumsum(counts[:-1], out=first[1:])
        values, padded = read_numbers(block)
        lines = block.split(b"\n")
        plain = np.array([form.verb != "other" for form in self.forms])[forms]
        at = 0
        for stop in [*np.flatnonzero(~plain).tolist(), len(forms)]:
            while at < stop:
                if self.comment:
                    self.line = self.source.line + at + 1
                    yield from self._structure(lines[at])
                    at += 1
                else:
                    self._statements(lines, slice(at, stop), forms, first, values, padded)
                    at = stop
            if stop < len(forms):
                self.line = self.source.line + stop + 1
                yield from self._structure(lines[stop])
                at = stop + 1

    def _forms(self, block: bytes) -> Array:
        """Return the number of each line's form."""
        if len(self.forms) > MAX_FORMS:
            self.forms, self.known = [], {}
        text = block.translate(TO_ZERO)
        while b"00" in text:
            text = text.replace(b"00", b"0")
        known, out = self.known, []
        lines = text.split(b"\n")
        lines.pop()
        for line in set(lines).difference(known):
            known[line] = len(self.forms)
            self.forms.append(form_of(line))
        out = [known[line] for line in lines]
        return np.array(out, np.int32)

    def _statements(
        self, lines: list[bytes], where: slice, forms: Array, first: Array, values: Array, padded: Array
    ) -> None:
        chosen = forms[where]
        present = [(number, self.forms[number]) for number in np.unique(chosen).tolist()]
        active = [(number, form) for number, form in present if form.verb != "blank"]
        if not active:
            return
        if not self.opened:
            spot = int(np.flatnonzero(np.isin(chosen, [number for number, _ in active]))[0]) + where.start
            raise self._error(f"{show(lines[spot])} stands outside 'rank N {{ … }}'", self.source.line + spot + 1)
        operations = np.isin(chosen, [number for number, form in active if not form.verb.endswith("requires")])
        self.total += self.nodes.begin(operations)
        if self.total > MAX_NODES:
            raise self._error(f"has more than {MAX_NODES} statements", self.source.line + where.start + 1)
        for number, form in active:
            at = np.flatnonzero(chosen == number)
            place = first[where][at]
            self._take(form, at, self.source.line + where.start + 1, place, values, padded, lines[where])

    def _take(
        self, form: Form, at: Array, line: int, place: Array, values: Array, padded: Array, lines: list[bytes]
    ) -> None:
        fields: dict[str, Array] = {}
        for name, slot in form.fields.items():
            if name in form.labels:
                prefix, own = form.labels[name], place + slot
                found = None
                if prefix is not None:
                    numbers = None if slot < 0 else values[own]
                    found = self.nodes.labels(prefix, numbers, None if slot < 0 else padded[own], len(at))
                if found is None:  # more than one number, or one that is written oddly
                    found = self.nodes.odd_labels([self._label(lines[i], name) for i in at.tolist()])
                fields[name] = found
            else:
                fields[name] = -values[place + slot] if name in form.negative else values[place + slot]
        if "nic" in fields:
            self.skipped["nic of a statement"] += len(at)
        try:
            self.nodes.take(form.verb, at, line, fields)
        except BadStatementError as error:
            raise self._error(f"{error}; {show(lines[error.line - line])}", error.line) from None

    def _label(self, line: bytes, name: str) -> bytes:
        match = (REQUIRES if name != "label" else STATEMENT).fullmatch(line)
        assert match is not None  # its form did
        return bytes(match[name])

    def _structure(self, line: bytes) -> Iterator[tuple[int, Columns]]:
        """Take a line with a brace, a rank's head, a comment, or what cannot be read."""
        for part in re.split(rb"([{}])", self._without_comments(line)):
            text = part.strip()
            if not text:
                continue
            if self.size == 0:
                self.size = self._number(text, b"num_ranks", "expected 'num_ranks N' before all else", MAX_RANKS)
                if self.size == 0:
                    raise self._error("num_ranks must be at least 1")
            elif text == b"{":
                if self.rank < 0 or self.opened:
                    raise self._error("'{' must follow 'rank N'")
                self.opened = True
            elif text == b"}":
                yield self._end_of_rank()
            elif self.opened:
                self._single(text)
            else:
                self._head(text)

    def _single(self, text: bytes) -> None:
        line = text.translate(TO_ZERO)
        while b"00" in line:
            line = line.replace(b"00", b"0")
        form = form_of(line)
        if form.verb == "other":
            raise self._error(f"cannot read {show(text)}; {EXAMPLE}")
        values, padded = read_numbers(text)
        self.nodes.begin(np.array([not form.verb.endswith("requires")]))
        self._take(form, np.zeros(1, np.int64), self.line, np.zeros(1, np.int64), values, padded, [text])

    def _without_comments(self, line: bytes) -> bytes:
        out = b""
        while line:
            if self.comment:
                _, end, line = line.partition(b"*/")
                self.comment = 0 if end else self.comment
                continue
            opening = re.search(rb"//|/\*", line)
            if not opening:
                return out + line
            out += line[: opening.start()] + b" "
            if opening[0] == b"//":
                return out
            line, self.comment = line[opening.end() :], self.line
        return out

    def _number(self, text: bytes, word: bytes, wanted: str, most: int) -> int:
        found = re.fullmatch(word + rb"\s+(\d{1,10})", text, re.ASCII)
        if not found:
            raise self._error(f"{wanted}, got {show(text)}")
        if int(found[1]) > most:
            raise self._error(f"{word.decode()} must be at most {most}, got {int(found[1])}")
        return int(found[1])

    def _head(self, text: bytes) -> None:
        if self.rank >= 0:
            raise self._error(f"expected '{{' after 'rank {self.rank}', got {show(text)}")
        rank = self._number(text, b"rank", "expected 'rank N {'", MAX_NUMBER)
        if rank >= self.size:
            raise self._error(f"rank {rank} is out of range: num_ranks is {self.size}")
        if rank in self.seen:
            raise self._error(f"rank {rank} comes twice; put all its statements in one block")
        self.seen.add(rank)
        self.rank = rank
        self.nodes = RankNodes(rank, self.size)

    def _end_of_rank(self) -> tuple[int, Columns]:
        if not self.opened:
            raise self._error("'}' closes nothing")
        try:
            done = self.rank, self.nodes.finish()
        except BadStatementError as error:
            raise self._error(str(error), error.line) from None
        self.rank, self.opened = -1, False
        return done
