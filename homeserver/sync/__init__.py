"""Sync: what a client is told, at first and from then on.

Here live the request as a whole (`sync`), its tokens and filters, and the parts of an answer. What does not live here:
noticing that something is new (`homeserver.streams`), what a person is notified of (`homeserver.push`).
"""
