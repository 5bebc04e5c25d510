"""The endpoints of clients, one module a noun of the client-server API.

Each module has ``routes(...)``, which takes the domain's objects and gives the declarations; bodies are records beside
it. How a weighty request asks for a proof is `interactive`.
"""
