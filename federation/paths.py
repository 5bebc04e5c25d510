"""Paths to the properties of an event, as filters and push rules write them.

Spec: appendices#dot-separated-property-paths
"""

import re
from typing import Final

_ESCAPED: Final = re.compile(r"\\([.\\])|\.")


def parse_path(path: str) -> tuple[str, ...]:
    r"""The property names in a dot-separated path, ``\.`` and ``\\`` standing for a dot and a backslash in a name.

    Spec: appendices#dot-separated-property-paths
    """
    names, name, at = [], "", 0
    for found in _ESCAPED.finditer(path):
        name += path[at : found.start()]
        at = found.end()
        if found[1]:
            name += found[1]
        else:
            names.append(name)
            name = ""
    return (*names, name + path[at:])
