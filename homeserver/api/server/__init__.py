"""The endpoints of other servers, one module a noun of the server-server API.

Each module has ``routes(...)``, as those of clients have. Most are declared by `declaring.signed_route`: behind it the
request was signed by `Call.origin`, a server that this one has to do with; what that server may see is for the domain
to decide. What costs much is answered in turns (`costly`).
"""
