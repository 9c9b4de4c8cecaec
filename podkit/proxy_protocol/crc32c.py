"""CRC-32C, the Castagnoli checksum (RFC 3720, appendix B.4), for occasional short inputs."""

from typing import Final

_POLYNOMIAL: Final = 0x82F63B78  # bits reversed


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE: Final = tuple(map(_entry, range(256)))


def crc32c(data: bytes) -> int:
    """The checksum of `data`."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
