"""The keys of the cap in plain Python: their definition, and the way back."""

from __future__ import annotations


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def plain_key(seed: int, high: int, low: int, query: int) -> int:
    """The definition of a key, in plain Python."""
    start = mix((seed + 0x9E3779B97F4A7C15) % 2**64)
    return mix(mix(mix(high ^ start) ^ low) ^ mix((query + start) % 2**64))


def unmix(x: int) -> int:
    """What `mix` made x of."""
    x ^= (x >> 31) ^ (x >> 62)
    x = (x * pow(0x94D049BB133111EB, -1, 2**64)) % 2**64
    x ^= (x >> 27) ^ (x >> 54)
    x = (x * pow(0xBF58476D1CE4E5B9, -1, 2**64)) % 2**64
    return x ^ (x >> 30) ^ (x >> 60)
