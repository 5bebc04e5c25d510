"""Application services: programs that act for many accounts of this server, by the operator's consent.

`registry` says what each service is and which names are its own, `identities` whom a request with its token acts for,
`questions` asks a service what only it knows. What it is told of by itself lives in `homeserver.outbox.services`; what
its people may do in a school is for `homeserver.schools.gate` to say. To give services another right: a field of
`AppService`, read from the registration in `build_services`.

Spec: application-service-api
"""
