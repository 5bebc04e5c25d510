"""Unpadded base64, the way binary values travel inside JSON.

Spec: appendices#unpadded-base64
"""

import binascii
from base64 import urlsafe_b64encode


def encode_base64(data: bytes) -> str:
    """Standard alphabet, no padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")


def encode_urlsafe(data: bytes) -> str:
    """URL-safe alphabet, no padding.

    Spec: appendices#url-safe-unpadded-base64
    """
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def find_base64(text: object) -> bytes | None:
    """What the text encodes in the standard alphabet, with or without its padding; None when it is not that."""
    if not isinstance(text, str):
        return None
    digits = text.rstrip("=")
    padding = "=" * (-len(digits) % 4)
    if text not in (digits, digits + padding):
        return None
    try:
        return binascii.a2b_base64(digits + padding, strict_mode=True)
    except ValueError:
        return None
