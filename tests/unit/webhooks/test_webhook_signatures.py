import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.webhooks.signature import TOLERANCE, is_genuine, key_of, signed_headers

secrets = st.text(min_size=1).filter(lambda s: not s.startswith("whsec_"))
ids = st.from_regex(r"[0-9a-f]{32}-done", fullmatch=True)
times = st.integers(0, 2**40)


def values(headers):
    return [headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")]


@given(secrets, ids, times, st.binary(), st.integers(-TOLERANCE, TOLERANCE))
def test_what_was_signed_is_genuine(secret, id_, time, body, late):
    assert is_genuine(secret, *values(signed_headers(secret, id_, time, body)), body, time + late)


@given(secrets, ids, times, st.binary(), st.binary())
def test_another_body_is_not_genuine(secret, id_, time, body, other):
    headers = values(signed_headers(secret, id_, time, body))
    assert is_genuine(secret, *headers, other, time) == (other == body)


@given(secrets, secrets, ids, times, st.binary())
def test_another_secret_does_not_sign(secret, other, id_, time, body):
    headers = values(signed_headers(other, id_, time, body))
    # HMAC pads short keys with zeros: keys that differ in those alone are the same key.
    same = secret.encode().rstrip(b"\0") == other.encode().rstrip(b"\0")
    if not same:
        assert not is_genuine(secret, *headers, body, time)


@given(secrets, ids, ids, times, times, st.binary())
def test_id_and_time_are_signed_too(secret, id_, other_id, time, other_time, body):
    _, _, signature = values(signed_headers(secret, id_, time, body))
    genuine = is_genuine(secret, other_id, str(other_time), signature, body, other_time)
    assert genuine == ((id_, time) == (other_id, other_time))


@given(secrets, ids, times, st.binary(), st.integers(TOLERANCE + 1))
def test_an_old_signature_is_not_genuine(secret, id_, time, body, age):
    headers = values(signed_headers(secret, id_, time, body))
    assert not is_genuine(secret, *headers, body, time + age)


def test_one_of_several_signatures_has_to_fit():
    id_, time, signature = values(signed_headers("s", "i", 5, b"x"))
    assert is_genuine("s", id_, time, f"v1,AAAA {signature}", b"x", 5)
    assert not is_genuine("s", id_, "5x", signature, b"x", 5)


def test_the_signature_is_that_of_the_specification():
    key = bytes(range(24))
    secret = "whsec_" + base64.b64encode(key).decode()
    expected = hmac.new(key, b"msg_1.1614265330.{}", hashlib.sha256).digest()
    headers = signed_headers(secret, "msg_1", 1614265330, b"{}")
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()


def test_a_key_that_is_not_base64_is_refused():
    with pytest.raises(ValueError, match="base64"):
        key_of("whsec_*")
