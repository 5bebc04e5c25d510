"""The school: organisations, people and their roles, classes, and the rooms that follow from them.

`rights` is the pure table of who may do what and who may reach whom; `gate` loads facts and asks it at every door of
the homeserver (it is the school's `homeserver.policy.Policy`). `school` is one organisation as a value, `enrolment`
says which rooms follow from it, `office` writes: each of its deeds puts school tables, membership events and the
audit entry into one unit of work. `roster` reads class lists; `demo` makes a school to try things out.

What people say to each other is not here (`homeserver.rooms`), nor their passwords (`homeserver.accounts`), nor SQL
(`homeserver.storage.schools`). A new deed of the school's office: a function on `school.School` that gives the new
school, a method of `office.Office` that checks the asker, applies it and names it in the audit, and a row in the
tables of `tests/homeserver/schools/`.

School: rows 1-34
"""
