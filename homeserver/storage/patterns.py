"""Patterns of LIKE: a text that is looked for in others."""


def containing(text: str) -> str:
    r"""The pattern, with the escape sign ``\``, of all that contains a text, whatever signs are in it."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
