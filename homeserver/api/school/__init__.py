"""The endpoints of the schools' offices, under ``/_parta/school/v1``.

Who may ask is decided in `homeserver.schools.office`: to everybody else an organisation is as if it did not exist.
The answers are described in docs/schools.md.
"""
