"""The training benchmark's arithmetic, its tables, and the checks that all contestants did the same work."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks.comparison import (
    Case,
    Result,
    check_first_losses,
    check_rows,
    check_tokens,
    ratios,
    summarize,
    table,
)
from benchmarks.peers.job import ANSWER, Job, mark, read_answer
from benchmarks.train import choose, load_results, save_results

CASE = Case(0.1, "avx2")
ROWS = [{"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}, {"input_ids": [5, 9], "labels": [-100, 9]}]


def result(
    contestant: str, number: int, seconds: list[float], losses: tuple[float, ...] = (2.0, 1.5)
) -> Result:
    cpu_s = [2 * value for value in seconds]
    return Result(contestant, CASE, number, 10.0, seconds, cpu_s, list(losses), 1.25)


def test_a_ratio_is_formed_within_a_round_and_only_then_its_median() -> None:
    results = [
        result("medlora", 0, [1.0, 1.0]), result("TRL", 0, [4.0, 6.0]),
        result("TRL", 1, [9.0, 9.0]), result("medlora", 1, [3.0, 3.0]),
        result("medlora", 2, [1.0, 3.0]), result("TRL", 2, [8.0, 8.0]),
    ]  # fmt: skip
    assert ratios(results, "TRL") == [5.0, 3.0, 4.0]
    assert ratios(results, "TRL", cpu=True) == [5.0, 3.0, 4.0]
    ours, trl = summarize(results, tokens_per_step=1000.0)
    assert (ours["contestant"], ours["tokens_per_second"], ours["rounds"]) == ("medlora", 500.0, 3)
    assert trl["times_as_long"] == {"median": 4.0, "low": 3.0, "high": 5.0}
    assert trl["step_s"] == {"median": 8.0, "low": 5.0, "high": 9.0}


def test_a_round_that_one_side_missed_is_no_part_of_a_ratio() -> None:
    results = [result("medlora", 0, [1.0]), result("TRL", 0, [2.0]), result("TRL", 1, [50.0])]
    assert ratios(results, "TRL") == [2.0]
    alone = summarize([result("TRL", 0, [2.0])], tokens_per_step=100.0)
    assert alone[0]["times_as_long"] is None


def test_the_table_shows_medians_and_ranges_with_medlora_first() -> None:
    results = [result("TRL", 0, [4.0]), result("medlora", 0, [2.0]), result("medlora", 1, [1.0])]
    lines = table(summarize(results, tokens_per_step=300.0)).splitlines()
    assert lines[0].startswith("|  | s a step | tokens/s | × medlora's time |")
    assert lines[2] == "| medlora | 1.50 (1.00 to 2.00) | 200 | 1.00 | 1.00 | 1.5000 | 1.25 | 10 |"
    assert lines[3] == "| TRL | 4.00 | 75 | 2.00 | 2.00 | 1.5000 | 1.25 | 10 |"


def test_one_label_moved_or_one_row_in_another_place_is_found() -> None:
    marks = [mark(row["input_ids"], row["labels"]) for row in ROWS]
    check_rows("TRL", marks, list(marks))
    moved = [marks[0], mark([5, 9], [5, 9])]
    with pytest.raises(ValueError, match=r"^TRL: row 2 has other tokens or label positions than medlora's$"):
        check_rows("TRL", marks, moved)
    with pytest.raises(ValueError, match=r"^TRL: row 1 has other tokens"):
        check_rows("TRL", marks, marks[::-1])
    with pytest.raises(ValueError, match=r"^TRL: it saw 1 rows instead of 2$"):
        check_rows("TRL", marks, marks[:1])


def test_medloras_own_events_must_count_the_tokens_of_the_rows_in_order() -> None:
    check_tokens([4, 2, 3, 3], 2, [6, 12])
    with pytest.raises(ValueError, match=r"^medlora: after step 2 it saw 11 tokens instead of 12$"):
        check_tokens([4, 2, 3, 3], 2, [6, 11])


def test_a_first_loss_that_differs_gives_other_positions_away() -> None:
    same = [result("medlora", 0, [1.0], (2.0, 1.0)), result("TRL", 0, [1.0], (2.02, 1.0))]
    assert check_first_losses(same) == pytest.approx(0.005, abs=1e-3)
    other = result("LLaMA-Factory", 0, [1.0], (2.5, 1.0))
    with pytest.raises(
        ValueError, match=r"^LLaMA-Factory: its first loss is 2\.5000 where the others have 2\.0200$"
    ):
        check_first_losses([*same, other])


def test_rounds_are_kept_in_files_and_put_together_only_under_the_same_settings(tmp_path: Path) -> None:
    one, two, known = tmp_path / "one.json", tmp_path / "two.json", {"machine": {"threads": 2}, "steps": 6}
    results = [result("medlora", 0, [1.0]), result("TRL", 0, [2.0])]
    save_results(one, known, results)
    save_results(two, known, results)
    assert load_results([one], known) == results
    assert [found.round for found in load_results([one, two], known)] == [0, 0, 1, 1]
    with pytest.raises(SystemExit, match="its rounds had steps 6, not 7; give another file"):
        load_results([one], {**known, "steps": 7})


def test_a_peer_without_an_environment_is_left_out_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(trl_python="/venv/python", llama_factory_python=None)
    assert list(choose(options)) == ["naive", "manual", "TRL"]
    assert capsys.readouterr().out == (
        "LLaMA-Factory: left out, since --llama-factory-python does not name the python of its environment\n"
    )


def test_a_job_is_read_as_it_was_written_and_a_contestant_must_answer(tmp_path: Path) -> None:
    job = Job("model", ROWS, steps=2, folder=str(tmp_path), dropout=0.1)
    assert Job.read(["naive", str(job.save(tmp_path / "job.json"))]) == job
    assert read_answer(f"chatter\n{ANSWER}{json.dumps({'losses': [1.0]})}\n") == {"losses": [1.0]}
    with pytest.raises(ValueError, match=r"^it ended without an answer$"):
        read_answer("Traceback: no memory")
