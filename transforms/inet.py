"""Internet addresses in the text form of MariaDB's inet4 and inet6 columns. Pure. Guards I6: one address has one text.

MariaDB shortens the first longest run of zero words, even a single one, and writes the last two words of addresses that embed an IPv4
address in dotted form (its Inet6::to_string, and MySQL's INET6_NTOA).
"""

from __future__ import annotations

import ipaddress


def inet4_text(packed: bytes) -> str:
    """Four bytes, the first the most significant."""
    return ".".join(map(str, packed))


def inet6_text(packed: bytes) -> str:
    """Sixteen bytes, the first the most significant."""
    words = [packed[at] << 8 | packed[at + 1] for at in range(0, 16, 2)]
    start, length = _longest_gap(words)
    dotted = start == 0 and ((length == 6) or (length == 5 and words[5] == 0xFFFF))
    text, at = "", 0
    while at < 8:
        if at == start:
            text, at = text + ("::" if at == 0 else ":"), at + length
        elif dotted and at == 6:
            return text + inet4_text(packed[12:])
        else:
            text += f"{words[at]:x}{':' if at < 7 else ''}"
            at += 1
    return text


def _longest_gap(words: list[int]) -> tuple[int, int]:
    best, at = (-1, 0), 0
    while at < len(words):
        end = at
        while end < len(words) and words[end] == 0:
            end += 1
        if end - at > best[1]:
            best = at, end - at
        at = end + 1
    return best


def is_canonical(text: str, version: int) -> bool:
    """Whether a text is an address of this version (4 or 6), written as MariaDB writes it. A zone (`%eth0`) is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version != version or "%" in text:
        return False
    return text == (inet4_text if version == 4 else inet6_text)(address.packed)
