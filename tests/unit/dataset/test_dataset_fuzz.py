"""Whatever bytes come in: no crash, every row used or explained, and the numbers are right."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.dataset.check import CheckOptions, CheckReport, check_file
from medlora.dataset.lines import LineFile
from medlora.dataset.phi import find_phi, redact_text
from medlora.dataset.records import RecordReader
from medlora.dataset.rows import Limits

WHOLE_FILE = {"not_text_file", "json_array", "json_spread", "too_many_rows", "empty_file"}
LIMITS = Limits(max_line_bytes=200)

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(["question", "answer", "prompt", "completion", "messages", "input", "output"])
objects = st.dictionaries(field_names | st.text(max_size=3), json_values, max_size=4).map(json.dumps)
good = st.tuples(st.text("ab ", min_size=1), st.text("cd", min_size=1)).map(
    lambda pair: json.dumps({"question": f"Q {pair[0]}", "answer": pair[1]})
)
lines = st.one_of(
    objects.map(str.encode),
    good.map(str.encode),
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"", b"  ", b"[", b"{", b'{"question": "Q', b"\xff\xfe", b"x" * 500, b"\xef\xbb\xbf"]),
)
files = st.lists(lines, max_size=8).flatmap(
    lambda parts: st.sampled_from([b"\n", b"\r\n"]).map(lambda end: end.join(parts))
)


def check_bytes(content: bytes) -> tuple[CheckReport, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.jsonl"
        path.write_bytes(content)
        report = check_file(path, CheckOptions(limits=LIMITS))
        with LineFile(path) as file:
            reader = RecordReader(limits=LIMITS)
            records = list(reader.read(file))
        assert [p.line for p in reader.problems if p.kind != "empty_file"] == [
            p.line for p in report.problems if p.kind != "empty_file"
        ]
        return report, len(records)


@settings(max_examples=150, deadline=None)
@given(files | st.binary(max_size=300))
def test_every_row_is_valid_or_has_a_problem_with_its_line(content: bytes) -> None:
    report, read_again = check_bytes(content)

    numbered = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    filled = [number for number, line in enumerate(numbered, 1) if line.strip()]
    bad = [problem.line for problem in report.problems if problem.kind != "empty_file"]
    assert len(bad) == len(set(bad)) == report.rows - report.valid
    assert read_again == report.usable
    if not any(problem.kind in WHOLE_FILE for problem in report.problems):
        assert report.rows == len(filled)
        assert set(bad) <= set(filled)


@settings(max_examples=100, deadline=None)
@given(st.lists(good, min_size=1, max_size=6, unique=True), st.data())
def test_one_bad_line_among_good_ones_is_found_at_its_place(rows: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows)))

    report, _ = check_bytes("\n".join([*rows[:place], '{"question": "Q"', *rows[place:], ""]).encode())

    assert [problem.line for problem in report.problems] == [place + 1]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_the_scan_finds_spans_in_order_and_redaction_leaves_none(text: str) -> None:
    spans = find_phi(text)

    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert not spans or redact_text(text) != text
