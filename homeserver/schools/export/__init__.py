"""What there is of one person, taken out for them: as JSON for machines, as pages for people, with their files.

`sinks` is where it is written (a zip archive or a folder), `pages` how rooms look in a browser, `person` what belongs
to an export, `exports` who asks for one. To add a section of data: name it in `storage.export.SECTIONS`.

School: row 47
"""
