"""Damaged inputs for parsers, until the time is over; a failure is reported with the input that caused it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

EDGES = (0, 1, 0x7F, 0x80, 0xFF)
TOKENS = (
    b"-1", b"1e308", b"NaN", b"null", b"[[", b"{}", b'"', b"\\", b"\0", b"\xef\xbb\xbf", b"\r\n",
    b"../", b"9" * 40, b"=", b",",
)  # fmt: skip


def damage(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with a few bytes changed, cut out, repeated or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        action = rng.randrange(7)
        if action == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif action == 1 and out:
            out[at % len(out)] = rng.choice(EDGES)
        elif action == 2:
            del out[at : at + rng.choice((1, 4, 64))]
        elif action == 3:
            out[at:at] = out[at : at + rng.choice((1, 8, 200))] * rng.choice((1, 2, 50))
        elif action == 4:
            out[at:at] = rng.choice(TOKENS)
        elif action == 5:
            out[at:at] = rng.randbytes(rng.choice((1, 3, 16)))
        else:
            out = out[:at]
        del out[1 << 20 :]
    return bytes(out)


def run(
    seeds: Sequence[bytes], target: Callable[[bytes], object], allowed: tuple[type[Exception], ...], seconds: float,
    seed: int = 1,
) -> int:  # fmt: skip
    """Feed `target` for `seconds`; whatever it raises but `allowed` is a failure. Return how many inputs it took."""
    rng = random.Random(seed)
    pool = list(seeds)
    for data in seeds:
        target(data)  # sound input is taken
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = damage(rng.choice(pool), rng)
        count += 1
        began = time.monotonic()
        try:
            target(data)
        except allowed:
            pass
        except BaseException as error:
            raise AssertionError(f"input {count} of seed {seed}, {data!r}, raised {error!r}") from error
        else:
            if len(pool) < 200:
                pool.append(data)  # what is taken leads further inside
        assert time.monotonic() - began < 5, f"input {count} of seed {seed} took too long: {data[:200]!r}"
    return count
