"""What holds for every test: the machine may be slow, and a run is the same each time where nobody watches."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "parta", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("parta")
