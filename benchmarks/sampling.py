"""Random valid records, for tests and measurements."""

from __future__ import annotations

import math
import random

from aimq.schema.model import Schema

#: A record as it is sent: the name of each field, and its value.
Record = dict[str, str | int]


def sample_records(schema: Schema, count: int, seed: int = 0) -> list[Record]:
    """Return `count` records that the schema allows; the same seed gives the same ones.

    Groups, categories that the group knows, and whole numbers within a feature's range are equally
    likely. Every range must hold a whole number.
    """
    source = random.Random(seed)  # nothing here is secret
    return [_sample(schema, source) for _ in range(count)]


def _sample(schema: Schema, source: random.Random) -> Record:
    group = source.choice(schema.groups)
    record: Record = {schema.group: group}
    for feature in schema.features:
        if feature.numeric:
            low, high = math.ceil(feature.minimum), math.floor(feature.maximum)
            record[feature.name] = source.randint(low, high)
        else:
            record[feature.name] = source.choice(feature.by_group.get(group, feature.categories))
    return record
