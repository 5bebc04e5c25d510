"""Finding messages, names and topics by their words, in one's own rooms.

`asks` is what is asked for and how a page goes on, `hits` judges which of the index's matches one person may be told
of, `pages` reads a page of them, `search` is the door, and `follower` keeps the index up with what is sent.

Who asks is told of nothing, not even by a number, that they could not read in the room itself: a match counts after it
was judged like any event of a page of history. A message is found by its text as the asker sees it, so by its last edit
if they may see that, and by no text that the edit has replaced.

What does not live here: the index (`homeserver.storage.search`).

Spec: client-server-api#server-side-search
"""
