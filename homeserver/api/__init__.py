"""The edge: where requests become calls of the domain, and its answers become bytes.

Here live the shapes every endpoint is written in (`route`), the strict reading of bodies and query strings (`body`,
`query`), the one table from exceptions to Matrix errors (`errors`), rate limits (`limits`), what guests and locked
accounts may do (`standing`), what other servers have signed (`signed`), what is counted and logged (`metrics`,
`access`); `edge` puts them together for each request, `connection` is HTTP itself, `listeners` and `credentials` are
the ports and their certificates. The endpoints lie beside them, one module a noun: ``client/``, ``server/``,
``school/``, ``admin/``. No rule of Matrix or of a school is decided here.

To add an endpoint: write ``async def name(call: Call) -> Answer | dict | Struct | bytes`` in the module of its noun,
and declare it in that module's ``routes(...)``; the composition root gathers those.
"""
