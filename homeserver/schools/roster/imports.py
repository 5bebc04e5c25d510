"""Importing a roster: all of it or, where it has a fault, nothing; on wish only what would be done.

It is done in steps of some people each, a unit of work a step. Cut off in the middle, the same roster again does the
rest: what is done already is no action any more.

School: row 28
"""

from typing import Final

_STEP: Final = 20
_FEW: Final = 3
_SHARE: Final = 10
"""A complete roster may let a few people go, or one in so many, without being asked again."""
