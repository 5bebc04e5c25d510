"""The rules by which messages are kept, of what the configuration says."""

from config.settings import Settings
from homeserver.rooms.retention import DAY_MS, Rules


def build_rules(settings: Settings) -> Rules | None:
    """How long messages are kept; None where nothing is removed."""
    said = settings.retention
    if not said.enabled:
        return None
    return Rules(
        default_ms=_milliseconds(said.default_days),
        shortest_ms=_milliseconds(said.shortest_days),
        longest_ms=_milliseconds(said.longest_days),
        kinds={kind: int(days * DAY_MS) for kind, days in said.kinds.items()},
    )


def _milliseconds(days: float | None) -> int | None:
    return None if days is None else int(days * DAY_MS)
