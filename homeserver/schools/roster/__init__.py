"""Class lists as schools export them: read strictly, compared with the school, applied step by step.

`rows` reads the text into records and faults with line numbers; `plan` says what would have to be done so that the
school agrees with it; `imports` checks the asker, guards against mass removal, and does it (or only says so).

School: row 28
"""
