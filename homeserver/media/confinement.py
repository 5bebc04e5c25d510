"""The walls round a process that reads what strangers wrote: little memory, little time, no core dump.

Decoders and parsers are an attack surface, so they run in processes of their own that call this first.
"""

import resource


def confine(*, memory_bytes: int, cpu_seconds: int, output_bytes: int) -> None:
    """Let this process have no more than that from now on; the system ends one that takes more."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes, output_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
