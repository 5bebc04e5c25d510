"""Files that people send: stored on disk, described in the database, served to who may see them.

What lives here: the folder of files (``files``), thumbnails made by a process of their own (``thumbnails`` asks,
``thumbnailer`` is that process), which media an event refers to (``references``), and the one door to all of them
(``media.Media``), which asks the policy. What does not: HTTP (``api/client/media``), tables (``storage/media``).

To add a kind of thumbnail: a line in ``thumbnails.SIZES``. To add an image format: ``thumbnailer.FORMATS``, after
thinking of its decoder as an attack surface.
"""
