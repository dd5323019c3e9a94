"""Classification labels and their ranks. A tenant may add labels in `policies/labels.yaml`; these four are the base."""

from enum import IntEnum


class Sensitivity(IntEnum):
    """Rank of a label. A subject reads up to their own clearance, and no policy row lifts that."""

    PUBLIC = 0
    INTERNAL = 1
    CONFIDENTIAL = 2
    SECRET = 3


RANKS: dict[str, int] = {rank.name.lower(): int(rank) for rank in Sensitivity}
