"""Tables of media: what files there are, which events refer to them, who keeps them from being seen, and previews.

`files` is what serving a file needs; `keeping` what operators do with files, and what has had its time; `previews` what
pages of the web were found to say. A file whose record goes is named in ``storage/doomed`` until its bytes are gone.
"""

from homeserver.storage.media.files import (
    MediaFull,
    MediaRecord,
    MediaTaken,
    MediaUse,
    PendingMedia,
    append_media,
    append_pending,
    append_references,
    fill_pending,
    find_holder,
    find_media,
    find_pending,
    find_use,
    remove_references,
    set_used,
    used_bytes,
)

__all__ = [
    "MediaFull",
    "MediaRecord",
    "MediaTaken",
    "MediaUse",
    "PendingMedia",
    "append_media",
    "append_pending",
    "append_references",
    "fill_pending",
    "find_holder",
    "find_media",
    "find_pending",
    "find_use",
    "remove_references",
    "set_used",
    "used_bytes",
]
