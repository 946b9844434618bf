from aimq.schema import RecordEncoder, load_schema
from benchmarks.sampling import sample_records
from etl.pipeline import SCHEMAS

SCHEMA = load_schema(SCHEMAS / "used_cars.toml")


def test_every_sampled_record_is_valid():
    encoder = RecordEncoder(SCHEMA)
    for record in sample_records(SCHEMA, 500):
        assert encoder.encode(record).group == record[SCHEMA.group]


def test_the_same_seed_gives_the_same_records_and_another_others():
    assert sample_records(SCHEMA, 20, seed=1) == sample_records(SCHEMA, 20, seed=1)
    assert sample_records(SCHEMA, 20, seed=1) != sample_records(SCHEMA, 20, seed=2)


def test_every_group_and_word_comes_up():
    records = sample_records(SCHEMA, 2000)
    for feature in SCHEMA.features:
        words = {record[feature.name] for record in records}
        assert feature.numeric or words == set(feature.categories)
    assert {record[SCHEMA.group] for record in records} == set(SCHEMA.groups)
