"""Cooperation of organisations, of one region or of two: agreements, the rooms that they share, and role claims.

`office` is what administrators do, `notices` tells the other side of it and hears what it did, `network` keeps the
rooms as they should be, `claims` vouches for people and has others vouched for, `rounds` repeats what a crash or a line
that was down has left undone. Who may do what in such a room is in `rights`, and the gate judges by `facts`, as
everywhere.

A cooperation is two records, one with each organisation; each side writes its own half and is told of the other's. What
has to be told is what the tables say is not known there yet, so nothing is lost that was committed.

School: rows 63, 67, 68
"""
