from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.gate.units import BYTES, MILLISECONDS, POINTS, QUANTITIES, RATIO, SHARE, TIMES

FINITE = {"allow_nan": False, "allow_infinity": False}


@pytest.mark.parametrize(
    ("quantity", "written", "value"),
    [
        (BYTES, 90_000, 90_000),
        (BYTES, "90 kB", 90_000),
        (BYTES, "90kB", 90_000),
        (BYTES, "2.4 MB", 2_400_000),
        (BYTES, "1 GB", 10**9),
        (BYTES, "2 KiB", 2048),
        (BYTES, "1.5 MiB", 1_572_864),
        (BYTES, "1 GiB", 2**30),
        (BYTES, "17", 17),
        (BYTES, "17 B", 17),
        (BYTES, "0.3 KiB", 307),  # a limit never grows by rounding
        (MILLISECONDS, 2, 2.0),
        (MILLISECONDS, "2 ms", 2.0),
        (MILLISECONDS, "2000 us", 2.0),
        (MILLISECONDS, "2000 \N{MICRO SIGN}s", 2.0),
        (MILLISECONDS, "2000 \N{GREEK SMALL LETTER MU}s", 2.0),
        (MILLISECONDS, "1.5 s", 1500.0),
        (POINTS, 1, 1.0),
        (POINTS, "0.9 pt", 0.9),
        (POINTS, "1.0pp", 1.0),
        (SHARE, "97 %", 0.97),
        (SHARE, "97%", 0.97),
        (SHARE, 0.97, 0.97),
        (SHARE, 1, 1.0),
        (RATIO, 20, 20.0),
        (RATIO, "20x", 20.0),
        (RATIO, f"20.5{TIMES}", 20.5),
    ],
)
def test_reads_what_people_write(quantity, written, value):
    assert quantity.parse(written) == value


@pytest.mark.parametrize(
    ("quantity", "written", "message"),
    [
        (BYTES, True, 'expected a number or a text such as "90 kB", found True'),
        (BYTES, [1], 'expected a number or a text such as "90 kB", found [1]'),
        (BYTES, "ninety", "expected a text such as \"90 kB\", found 'ninety'"),
        (BYTES, "", "expected a text such as \"90 kB\", found ''"),
        (BYTES, "-3 kB", "expected a text such as \"90 kB\", found '-3 kB'"),
        (BYTES, -3, "expected a finite number, zero or more, found -3"),
        (BYTES, float("inf"), "expected a finite number, zero or more, found inf"),
        (MILLISECONDS, float("nan"), "expected a finite number, zero or more, found nan"),
        (BYTES, "9 KB", "write kB for 1000 bytes or KiB for 1024"),
        (BYTES, "9 Mb", "that is bits: write MB for 10^6 bytes or MiB for 2^20"),
        (
            BYTES,
            "9 mib",
            "unit 'mib' is not one of B, kB, MB, GB, KiB, MiB, GiB; did you mean 'MiB'?",
        ),
        (BYTES, "9 ms", "unit 'ms' is not one of B, kB, MB, GB, KiB, MiB, GiB"),
        (MILLISECONDS, "2 msec", "did you mean 'ms'?"),
        (POINTS, "1 %", "a drop is counted in percentage points: write pt"),
        (SHARE, 97, 'expected at most 1, found 97; write "97 %" or 0.97'),
        (SHARE, "101 %", 'expected at most 1, found 101 %; write "97 %" or 0.97'),
        (SHARE, "1 pt", "unit 'pt' is not one of no unit, %"),
    ],
)
def test_refuses_with_one_clear_sentence(quantity, written, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        quantity.parse(written)


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        (BYTES, 0, "0 B"),
        (BYTES, 999, "999 B"),
        (BYTES, 1000, "1.00 kB"),
        (BYTES, 84_216, "84.2 kB"),
        (BYTES, 999_499, "999 kB"),
        (BYTES, 999_500, "1.00 MB"),  # never "1000 kB"
        (BYTES, 2_400_000, "2.40 MB"),
        (MILLISECONDS, 0.31, "310 \N{MICRO SIGN}s"),
        (MILLISECONDS, 2.0, "2.00 ms"),
        (MILLISECONDS, 1500.0, "1.50 s"),
        (POINTS, 0.4, "0.40 pt"),
        (POINTS, -0.1, "-0.10 pt"),
        (SHARE, 0.9834, "98.34 %"),
        (RATIO, 20.833, f"20.8{TIMES}"),
        (MILLISECONDS, float("nan"), "not a number"),
    ],
)
def test_formats_three_digits_in_the_unit_that_reads_best(quantity, value, text):
    assert quantity.format(value) == text


def test_two_values_that_round_alike_are_told_apart():
    assert BYTES.format_apart(90_000, 90_001) == ("90 kB", "90.001 kB")
    assert BYTES.format_apart(90_000, 90_000) == ("90.0 kB", "90.0 kB")


@given(value=st.integers(min_value=0, max_value=10**15))
def test_bytes_read_back_exactly(value):
    assert BYTES.parse(BYTES.format_exact(value)) == value


@pytest.mark.parametrize("base", ["ms", "pt", TIMES])
@given(value=st.floats(min_value=0, max_value=1e12, **FINITE))
def test_floats_read_back_exactly(base, value):
    quantity = QUANTITIES[base]
    assert quantity.parse(quantity.format_exact(value)) == pytest.approx(value, rel=1e-15)


@given(value=st.floats(min_value=0, max_value=1, **FINITE))
def test_shares_read_back_exactly(value):
    assert SHARE.parse(SHARE.format_exact(value)) == pytest.approx(value, rel=1e-15)


@given(value=st.floats(min_value=1e-3, max_value=1e9, **FINITE))
def test_rounding_moves_a_value_by_less_than_a_unit_in_the_third_digit(value):
    assert MILLISECONDS.parse(MILLISECONDS.format(value)) == pytest.approx(value, rel=0.0051)
