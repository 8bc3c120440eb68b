"""The codec between a submission and its judge: exact types, and no trust in the bytes."""

import contextlib
import random
import time

import pytest

from pgbench.verify import _plain


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 0, 2**63, -(2**200), 1.5, float("inf"), 1 - 2j, "é\ud800", b"\0", [], (1,),
     {1: [2]}, {1, "a"}, frozenset({(1, 2)}), list(range(100)), tuple(range(-9, 9)), nested(150),
     int, [2**63] * 10, [True] * 10],
)  # fmt: skip
def test_plain_data_round_trip(value):
    found = _plain.Decoder(_plain.encode(value)).value()
    assert found == value and type(found) is type(value)


def test_subclasses_arrive_as_their_base():
    class Odd(int):
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 0

    found = _plain.Decoder(_plain.encode([Odd(3), {Odd(1): Odd(2)}])).value()
    assert [type(x) for x in (found[0], *found[1], *found[1].values())] == [int] * 3


def test_decoder_takes_no_bytes_for_granted():
    """Cut and changed bytes give a value or Malformed, never anything else, and never slowly."""
    rng = random.Random(0)
    whole = _plain.encode([1, "ab", {2: (3.5, b"c")}, {4}, list(range(50)), None, int])
    begun = time.process_time()
    for _ in range(3000):
        data = bytearray(whole[: rng.randrange(len(whole) + 1)])
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(_plain.Malformed):
            _plain.Decoder(bytes(data)).value()
    assert time.process_time() - begun < 5
    for refused in (nested(300), object()):
        with pytest.raises(_plain.Unsendable):
            _plain.encode(refused)
    for refused in (1 << 10**6, "x" * 10**8):
        with pytest.raises(_plain.TooLarge):
            _plain.encode(refused)
