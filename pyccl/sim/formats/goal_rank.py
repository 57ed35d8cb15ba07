"""The statements of one rank of a GOAL file, gathered in arrays; labels are resolved at the rank's end."""

from __future__ import annotations

import numpy as np

from pyccl.sim.recorder import MAX_NBYTES, compact, csr
from pyccl.sim.trace import ANY, Array, Columns, Kind

__all__ = ["MAX_NUMBER", "BadStatementError", "RankNodes"]

MAX_NUMBER = (1 << 31) - 1
MAX_NS = 1 << 53
"""104 days; beyond, a nanosecond is less than a float's precision."""
NUMBER_BITS = 40
NO_NUMBER = (1 << NUMBER_BITS) - 1
KINDS = {"send": Kind.SEND, "recv": Kind.RECV, "calc": Kind.COMP}
PIECES = {
    "kind": np.uint8, "nbytes": np.int64, "peer": np.int32, "tag": np.int32, "duration": np.float64, "lane": np.int32,
    "label": np.int64, "line": np.int64,
}  # fmt: skip


class BadStatementError(ValueError):
    """What is wrong on `line`."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


class RankNodes:
    """Grows piece by piece: `begin` makes room for the operations of some lines, `take` fills in those of one form.

    A label is an int64: which text it begins with, and its number.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self.prefixes: dict[bytes, int] = {}
        self.pieces: list[dict[str, Array]] = []
        self.links: list[tuple[Array, Array, bool, Array]] = []
        self.places = np.zeros(0, np.int64)

    def begin(self, operations: Array) -> int:
        """Make room: `operations` says of each line whether it is one. Return how many there are."""
        self.places = np.cumsum(operations) - 1
        count = int(operations.sum())
        self.pieces.append({name: np.zeros(count, dtype) for name, dtype in PIECES.items()})
        self.pieces[-1]["label"][:] = -1
        self.pieces[-1]["peer"][:] = ANY
        return count

    def labels(self, prefix: bytes, numbers: Array | None, padded: Array | None, count: int) -> Array | None:
        """Return labels of `prefix` and a number; None if a number is not written as a number is."""
        if numbers is None or padded is None:
            return np.full(count, self._prefix(prefix) << NUMBER_BITS | NO_NUMBER, np.int64)
        if padded.any() or numbers.max() >= NO_NUMBER:
            return None
        return numbers | self._prefix(prefix) << NUMBER_BITS

    def odd_labels(self, texts: list[bytes]) -> Array:
        """Return labels of any text; the same for the same text as `labels`."""
        out = []
        for text in texts:
            prefix = text.rstrip(b"0123456789")
            digits = text[len(prefix) :]
            sound = digits and (digits == b"0" or digits[:1] != b"0") and len(digits) < 19 and int(digits) < NO_NUMBER
            number = int(digits) if sound else NO_NUMBER
            out.append(self._prefix(prefix if sound else text) << NUMBER_BITS | number)
        return np.array(out, np.int64)

    def _prefix(self, text: bytes) -> int:
        return self.prefixes.setdefault(text, len(self.prefixes))

    def take(self, verb: str, at: Array, line: int, fields: dict[str, Array]) -> None:
        """Take the statements of one form, of which the k-th stands on line ``line + at[k]``.

        Raises
        ------
        BadStatementError
            If a number is out of range.
        """
        lines = at + line
        if verb.endswith("requires"):
            self.links.append((fields["first"], fields["second"], verb == "irequires", lines))
            return
        piece, places = self.pieces[-1], self.places[at]
        piece["kind"][places] = KINDS[verb]
        piece["line"][places] = lines
        if "label" in fields:
            piece["label"][places] = fields["label"]
        if "cpu" in fields:
            piece["lane"][places] = _within("cpu", fields["cpu"], 0, MAX_NUMBER, lines)
        if verb == "calc":
            if "tag" in fields:
                raise BadStatementError("calc has no tag", int(lines[0]))
            piece["duration"][places] = _within("calc's nanoseconds", fields["ns"], 0, MAX_NS, lines) / 1e9
            return
        least, peer, nbytes = (0, "dest", "size") if verb == "send" else (ANY, "source", "space")
        piece["nbytes"][places] = _within("bytes", fields[nbytes], 0, MAX_NBYTES, lines)
        piece["peer"][places] = _within("rank", fields[peer], least, self.size - 1, lines)
        if (own := np.flatnonzero(fields[peer] == self.rank)).size:
            raise BadStatementError(f"rank {self.rank} has a message with itself; write calc", int(lines[own[0]]))
        if "tag" in fields:
            piece["tag"][places] = _within("tag", fields["tag"], least, MAX_NUMBER, lines)

    def finish(self) -> Columns:
        """Return the columns.

        Raises
        ------
        BadStatementError
            If a label is missing or comes twice.
        """
        whole = {
            name: np.concatenate([np.zeros(0, dtype), *(p[name] for p in self.pieces)])
            for name, dtype in PIECES.items()
        }
        n, labels, lines = len(whole["kind"]), whole.pop("label"), whole.pop("line")
        order = np.argsort(labels, kind="stable")
        ranked = labels[order]
        twice = np.flatnonzero((ranked[1:] == ranked[:-1]) & (ranked[1:] >= 0))
        if twice.size:
            node = int(order[twice[0] + 1])
            raise BadStatementError(
                f"rank {self.rank} has the label {self._text(int(labels[node]))} twice", int(lines[node])
            )
        waiting, awaited, begun = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.bool_)]
        for first, second, only_begun, where in self.links:
            waiting.append(self._resolve(first, ranked, order, where))
            awaited.append(self._resolve(second, ranked, order, where))
            begun.append(np.full(len(first), only_begun))
        nothing = np.full(n, -1, np.int32)
        columns = {name: compact(values) for name, values in whole.items()}
        links = csr(n, np.concatenate(waiting), np.concatenate(awaited), np.concatenate(begun))
        columns |= links
        columns |= {"collective": compact(nothing.astype(np.int8)), "group": compact(nothing)}
        return Columns(**columns)  # type: ignore[arg-type]

    def _resolve(self, labels: Array, ranked: Array, order: Array, lines: Array) -> Array:
        places = np.searchsorted(ranked, labels)
        found = np.zeros(len(labels), np.bool_)
        inside = places < len(ranked)
        found[inside] = ranked[places[inside]] == labels[inside]
        if not found.all():
            at = int(np.flatnonzero(~found)[0])
            raise BadStatementError(f"rank {self.rank} has no label {self._text(int(labels[at]))}", int(lines[at]))
        return order[places].astype(np.int32)

    def _text(self, label: int) -> str:
        prefix = list(self.prefixes)[label >> NUMBER_BITS].decode("utf-8", "replace")
        number = label & NO_NUMBER
        return repr(prefix if number == NO_NUMBER else f"{prefix}{number}")


def _within(name: str, values: Array, least: int, most: int, lines: Array) -> Array:
    wrong = np.flatnonzero((values < least) | (values > most))
    if wrong.size:
        value = int(values[wrong[0]])
        shown = "more" if value == (1 << 63) - 1 else value
        raise BadStatementError(f"{name} must be from {least} to {most}, got {shown}", int(lines[wrong[0]]))
    return values
