"""Inputs of a fuzz run: good files, damaged in ways that parsers trip over. Any input is made again from two numbers.

A seed is a good file in two parts: the bytes that are mutated, and what is put around them afterwards (a checksum, a
compression, a length), so that mutations reach the parser behind the wrapping. The same file stands among the seeds
unwrapped too, so that the wrapping itself is mutated as well.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_INPUT = 64 << 10
_LENGTHS = (
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
_NUMBERS = (b"0", b"-1", b"1e309", b"NaN", b"Infinity", b"999999999999", b"18446744073709551616", b"0.0", b"1e-320")
_DIGITS = re.compile(rb"\d+")


def as_it_is(payload: bytes) -> bytes:
    """No wrapping."""
    return payload


@dataclass(frozen=True)
class Seed:
    """A good file: `wrap(payload)`."""

    payload: bytes
    wrap: Callable[[bytes], bytes] = as_it_is


class Corpus:
    """All inputs of one target, by number.

    Args:
        name: Of the target, part of the random seed.
        seeds: At least one good file.
        words: The format's magic numbers, keys and names.
        seed: The run's number.
    """

    def __init__(self, name: str, seeds: Sequence[Seed], words: Sequence[bytes], seed: int) -> None:
        self._seeds, self._words, self._name, self._seed = seeds, words, name, seed
        self.good_files = len(seeds)

    def __getitem__(self, index: int) -> bytes:
        rng = random.Random(f"{self._name} {self._seed} {index}")
        chosen = self._seeds[rng.randrange(len(self._seeds))]
        data = bytearray(chosen.payload)
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 12))):
            _OPERATIONS[rng.randrange(len(_OPERATIONS))](data, rng, self)
            del data[MAX_INPUT:]
        return chosen.wrap(bytes(data))

    def good(self, index: int) -> bytes:
        """One of the good files, undamaged."""
        chosen = self._seeds[index]
        return chosen.wrap(chosen.payload)

    def word(self, rng: random.Random) -> bytes:
        """One of the format's words."""
        return self._words[rng.randrange(len(self._words))] if self._words else b"\0"

    def other(self, rng: random.Random) -> bytes:
        """The inside of another good file."""
        return self._seeds[rng.randrange(len(self._seeds))].payload


def _place(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def _flip_bit(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _lie_about_a_length(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    """Overwrites 1, 2, 4 or 8 bytes with a number that is interesting, or close to the file's own size."""
    width = rng.choice((1, 2, 4, 8))
    number = rng.choice((*_LENGTHS, len(data), len(data) + 1, max(0, len(data) - 1)))
    at = _place(data, rng)
    packed = struct.pack("<Q", number)[:width]
    data[at : at + width] = packed if rng.random() < 0.7 else packed[::-1]


def _write_a_number(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    """Replaces decimal digits, as texts and npy headers have them."""
    found = list(_DIGITS.finditer(data))
    if found:
        start, stop = found[rng.randrange(len(found))].span()
        data[start:stop] = rng.choice((*_NUMBERS, str(rng.choice(_LENGTHS)).encode()))


def _truncate(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    del data[_place(data, rng) :]


def _remove(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 8, 16, 64, 256))]


def _repeat(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    at = _place(data, rng)
    part = bytes(data[at : at + rng.choice((1, 4, 16, 64, 256))])
    data[at:at] = part * rng.choice((1, 1, 2, 8, 64))


def _insert_noise(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8, 32)))


def _overwrite_with_word(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    at, word = _place(data, rng), corpus.word(rng)
    data[at : at + len(word)] = word


def _insert_word(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    at = _place(data, rng)
    data[at:at] = corpus.word(rng)


def _swap_word(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    """One of the format's words in the place of another."""
    at = data.find(corpus.word(rng), _place(data, rng))
    if at >= 0:
        word = corpus.word(rng)
        data[at : at + len(word)] = word


def _splice(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    """Goes on as another file does."""
    other = corpus.other(rng)
    at = _place(data, rng)
    data[at:] = other[min(at, len(other)) if rng.random() < 0.5 else rng.randrange(len(other) + 1) :]


def _copy_within(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    source, at, width = _place(data, rng), _place(data, rng), rng.choice((1, 2, 4, 8, 32, 128))
    part = bytes(data[source : source + width])
    data[at : at + len(part)] = part


_OPERATIONS = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_byte,
    _lie_about_a_length,
    _lie_about_a_length,
    _write_a_number,
    _truncate,
    _remove,
    _repeat,
    _insert_noise,
    _overwrite_with_word,
    _insert_word,
    _swap_word,
    _splice,
    _copy_within,
)
