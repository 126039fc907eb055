"""The short way writes what the RFC's own implementation writes, or refuses what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.canonical import EXACT_INTEGER, canonical

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-EXACT_INTEGER * 2, EXACT_INTEGER * 2)
    | st.floats()
    | st.text()
    | st.characters(categories=["Cs", "Cc", "Co"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=12,
)


@given(values)
def test_it_is_what_the_rfc_says(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError):
        with pytest.raises(ValueError):  # which of the library's own it is does not matter
            canonical(value)
    else:
        assert canonical(value) == expected


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}'),  # RFC 8785 §3.2.3
        ({"b": 1.0, "a": [1e21, -0.0]}, '{"a":[1e+21,0],"b":1}'),
        ({"说明": '换\n行"\x1f\x7f'}, '{"说明":"换\\n行\\"\\u001f\x7f"}'),
    ],
)
def test_examples(value: Any, written: str) -> None:
    assert canonical(value).decode() == written
