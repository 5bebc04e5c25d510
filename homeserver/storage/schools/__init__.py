"""Tables of the schools: organisations, classes, people with their roles, the schools' rooms, the audit log.

A module for each, with the record of a row and functions over a transaction. Records are values: `homeserver.schools`
makes new ones, and `ledger` writes those that changed. Which role allows what is not known here.
"""
