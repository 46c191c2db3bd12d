"""Hypothesis strategies for bytes that are events, nearly events, or nothing of the kind."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st


class Raw(str):
    """A piece of JSON text that goes out as it is, such as `NaN`."""

    __slots__ = ()


def to_json(value: Any) -> str:
    """JSON text of `value`; a list of pairs tagged by a tuple is an object with repeated keys."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return to_json(tuple(value.items()))
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(k)}: {to_json(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ODD_NUMBERS = st.sampled_from(
    [
        Raw(text)
        for text in (
            *("0", "1", "-1", "-0", "-0.0", "0.0", "1.0", "1e308", "5e-324", "1e-400", "2.5E+3"),
            *("9223372036854775807", "9223372036854775808", "18446744073709551615"),
            *("18446744073709551616", "-9223372036854775808", "-9223372036854775809", "1e309"),
            *("1" + "0" * 400, "NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "0x1"),
            *("253402300799999", "253402300800000", "2147483647", "2147483648", "1.0000000001"),
        )
    ]
)
TIMES = st.sampled_from(
    [
        *("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.250Z", "2026-03-01T12:00:00.250999Z"),
        *("2026-03-01 12:00:00+05:30", "2026-03-01t12:00:00.1z", "2016-12-31T23:59:60Z"),
        *("2016-12-31T22:59:60Z", "2026-02-29T00:00:00Z", "2026-03-01T12:00:00", "2026-03-01"),
        *("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"),
        *("9999-12-31T23:59:59-00:01", "2026-03-01T24:00:00Z", "2026-W09-7T12:00:00Z", "1", ""),
        *("٢٠٢٦-03-01T12:00:00Z", "2026-03-01T12:00:0٣Z", "2026-03-01T12:00:00.25٣Z"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    ODD_NUMBERS,
    TEXTS,
    st.sampled_from(["1.5", "NaN", "true", "x" * 256, "x" * 257]),
)
JSONS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS, inner, max_size=3)
        | st.lists(st.tuples(TEXTS, inner), max_size=3).map(tuple)
    ),
    max_leaves=4,
)
NAMES = st.one_of(st.sampled_from(["a", "b", "c", "é"]), TEXTS, st.sampled_from(["", "n" * 257]))
GOOD_NUMBERS = st.one_of(
    st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), st.just(Raw("-0.0"))
)
GOOD_FEATURES = st.one_of(
    st.fixed_dictionaries({"a": GOOD_NUMBERS, "b": GOOD_NUMBERS}),
    st.fixed_dictionaries(
        {"a": GOOD_NUMBERS, "b": SCALARS.filter(lambda v: not isinstance(v, Raw)), "c": JSONS}
    ),
)
PREDICTIONS = st.fixed_dictionaries(
    {
        "type": st.just("prediction"),
        "event_id": st.just("e"),
        "model_id": st.sampled_from(["m", "n", "µ"]),
        "model_version": st.sampled_from(["1", "2"]),
        "ts": st.one_of(st.integers(0, 2_000_000_000_000), TIMES),
        "features": GOOD_FEATURES,
    },
    optional={
        "prediction": st.one_of(st.integers(0, 2), st.sampled_from(["yes", "1", True, 1.0, None])),
        "score": GOOD_NUMBERS,
        "probabilities": st.dictionaries(
            st.sampled_from(["0", "1", "2", ""]), st.floats(0, 1) | st.integers(0, 1), min_size=1
        ),
        "source": st.sampled_from(["s1", "s2", "", None]),
        "slices": st.dictionaries(st.sampled_from(["x", "y"]), TEXTS),
        "feature_view": TEXTS,
        "latency_ms": st.sampled_from([0, 1.5, None]),
        "sample_rate": st.sampled_from([1, 0.5, None]),
        "schema_version": st.sampled_from([1, "1.0", None]),
        "shard": st.sampled_from([0, 1, None]),
        "traceparent": TEXTS,
        "unheard_of": SCALARS,
    },
)
LABELS = st.fixed_dictionaries(
    {
        "type": st.just("label"),
        "event_id": st.just("e"),
        "model_id": st.sampled_from(["m", "n"]),
        "ts": st.one_of(st.integers(0, 2_000_000_000_000), TIMES),
        "label": st.sampled_from([0, 1.5, "yes", True]),
    },
    optional={
        "label_source": st.sampled_from(["s1", "", None]),
        "shard": st.sampled_from([0, 1, None]),
        "features": SCALARS,
    },
)
PLAIN = PREDICTIONS.map(
    lambda e: {**e, "ts": 5, "features": {"a": 1, "b": 2.5}, "score": 0.5, "prediction": 1}
)


@st.composite
def mutants(draw: st.DrawFn, event: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The pairs of an event with up to two of them dropped, replaced, renamed or repeated."""
    pairs = list(event.items())
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        if not pairs:
            break
        i = draw(st.integers(0, len(pairs) - 1))
        name, value = pairs[i]
        match draw(st.integers(0, 6)):
            case 0:
                del pairs[i]
            case 1:
                pairs[i] = (draw(st.sampled_from([*event, "new"])), value)
            case 2:
                pairs.append((name, draw(JSONS)))
            case 3 if isinstance(value, dict):
                pairs[i] = (name, (*value.items(), (draw(NAMES), draw(SCALARS))))
            case 4:
                pairs = draw(st.permutations(pairs))
            case _:
                pairs[i] = (name, draw(st.one_of(ODD_NUMBERS, JSONS, TIMES)))
    return tuple(pairs)


@st.composite
def near_events(draw: st.DrawFn, event: dict[str, Any]) -> bytes:
    """The bytes of a mutant, now and then broken as bytes."""
    text = to_json(draw(mutants(event))).encode()
    match draw(st.integers(0, 19)):
        case 0:
            return text[: draw(st.integers(0, len(text)))]
        case 1:
            return b"\xef\xbb\xbf" + text
        case 2:
            return b" \t\r\n" + text + b"\n "
        case 3:
            return text + draw(st.sampled_from([b"x", b"{}", b"\x00", b","]))
        case 4:
            return b"\x00" + text
        case 5:
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.binary(min_size=1, max_size=2)) + text[at + 1 :]
        case 6:
            return draw(st.sampled_from([b"", b"null", b"[]", b'"x"', b"1", b"[" * 2000, b"{}"]))
        case _:
            return text


@st.composite
def polls(draw: st.DrawFn) -> list[bytes]:
    """The values of a few records: much alike, as from one producer, or not at all."""
    if draw(st.booleans()):
        event = draw(st.one_of(PLAIN, PREDICTIONS, LABELS))
        n = draw(st.integers(1, 4))
        clean = to_json(event).encode()
        return [draw(st.one_of(near_events(event), st.just(clean))) for _ in range(n)]
    n = draw(st.integers(0, 5))
    return [draw(near_events(draw(st.one_of(PREDICTIONS, LABELS)))) for _ in range(n)]
