"""What a page of the web says about itself, for who sees its address in a room. Off unless the operator turns it on.

Which addresses are asked at all is in ``addresses``; ``web`` asks, by the guarded way of every outward request, and
judges every redirect anew; ``page`` and ``picture`` are processes of their own that read what came back; ``previews``
is the door: the policy, what is remembered, one question however many ask.

Nothing of the person who asks goes out: no address, no token, no cookie, no referrer. Nothing in an answer makes a
client go elsewhere by itself: its image is a file of this server, and videos and sounds are left out.

To read something more from pages: ``page.read``, and a hostile page in its tests.
"""
