"""The pieces of an evaluation that need no model."""

import pytest

from medlora.dataset.shapes import Record, Turn
from medlora.jobs.evaluation.answers import judge
from medlora.jobs.evaluation.drift import load_risky_prompts
from medlora.jobs.evaluation.figures import Spoken, compare, list_answers, summarise
from medlora.jobs.evaluation.overlap import rouge_l
from medlora.jobs.evaluation.pace import ANSWER, LOSS, Pace
from medlora.jobs.evaluation.resample import difference_interval, mean_interval
from medlora.jobs.evaluation.scoring import AnswerLoss, find_choice, has_choices
from medlora.safety.policy import Policy

pytestmark = pytest.mark.torch
POLICY = Policy.from_settings({})


def ask(question: str, answer: str = "Yes, it does.") -> Record:
    return Record((Turn("user", question), Turn("assistant", answer)), 1)


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", 1.0),
        ("the cat sat", "a dog ran", 0.0),
        ("a b c d", "a x c", 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)),
        ("", "word", 0.0),
    ],
)
def test_overlap_is_the_f1_of_the_longest_common_subsequence(
    reference: str, answer: str, expected: float
) -> None:
    assert rouge_l(reference, answer) == pytest.approx(expected)


def test_questions_with_fixed_answers_are_recognised() -> None:
    research = find_choice(ask("Does aspirin help?\nAnswer yes, no or maybe.", "maybe. The data are mixed."))
    assert research is not None and research.options[research.right] == "maybe"
    lettered = find_choice(ask("Which one?\nA) iron\nB) zinc\nC. copper", "B) zinc"))
    assert lettered is not None and (lettered.options, lettered.right) == (("A", "B", "C"), 1)
    assert find_choice(ask("What is asthma?", "Asthma is common.")) is None
    assert find_choice(ask("Which one?\nA) iron\nB) zinc", "D) none")) is None


def test_a_stray_no_does_not_make_a_set_one_of_choices() -> None:
    stray = [ask("Is it safe?", "No, ask first."), *[ask("What is it?", "A sign.") for _ in range(9)]]
    assert not has_choices(stray)
    assert has_choices([ask("Does it help?", "yes")] * 9)


def test_answers_are_judged_as_the_chat_would_show_them() -> None:
    question = [Turn("user", "My chest feels crushed and my arm is numb.")]
    said = judge("You are not having a heart attack. Rest a little.", 12, False, question, POLICY)
    assert (said.verdict, said.deferred) == ("withheld", True)
    assert "not having a heart attack" not in said.text and said.rules
    plain = judge("Drink water. See your doctor if it lasts.", 9, False, [Turn("user", "I cough.")], POLICY)
    assert (plain.verdict, plain.refers, plain.refused, plain.deferred) == ("released", True, False, False)
    assert judge("I'm sorry, I cannot help with that.", 8, True, question[:0] or question, POLICY).refused


def test_figures_weigh_the_loss_by_tokens_and_count_with_intervals() -> None:
    answer = judge("Drink water.", 3, True, [Turn("user", "I cough.")], POLICY)
    rows = [
        Spoken(1, "q", "drink water", AnswerLoss(9.0, 3), answer, True),
        Spoken(2, "q", "r", AnswerLoss(1.0, 1), None, False),
    ]
    figures = summarise(rows)
    spread = summarise(rows * 2)["perplexity_95"]
    assert spread[0] <= figures["perplexity"] <= spread[1]
    assert figures["loss"] == 2.5 and figures["answer_tokens"] == 4 and figures["rouge_l"] == 1.0
    assert figures["truncated"]["hits"] == 1 and figures["truncated"]["total"] == 1
    assert figures["choices"]["hits"] == 1 and figures["choices"]["total"] == 2
    low, high = figures["choices"]["wilson_95"]
    assert low < 0.5 < high
    listed = list_answers(rows[:1] * 4, rows[:1] * 4)
    assert len(listed["best"]) == len(listed["worst"]) == 2


def test_a_mean_over_rows_has_an_interval_that_is_the_same_every_time() -> None:
    losses = [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    low, high = mean_interval(losses) or [0.0, 0.0]
    assert 3.5 < low < 5.5 < high < 7.5 and mean_interval(losses) == [low, high]
    assert mean_interval([4.0, 8.0, 40.0], [2, 4, 20]) == [2.0, 2.0], "a row weighs as many tokens as it has"
    assert mean_interval(losses[:2]) is None and mean_interval([]) is None
    assert mean_interval([1.0, float("nan"), 2.0, 3.0]) is None


def test_a_difference_is_drawn_in_pairs() -> None:
    base, adapter = [1.0, 5.0, 9.0, 30.0], [0.5, 4.5, 8.5, 29.5]
    assert difference_interval(adapter, base) == [-0.5, -0.5], "hard rows are hard for both"
    rows = [Spoken(1, "q", "r", AnswerLoss(total, 2)) for total in base]
    tuned = [Spoken(1, "q", "r", AnswerLoss(total, 2)) for total in adapter]
    assert compare(rows, tuned) == {"loss": {"value": -0.25, "bootstrap_95": [-0.25, -0.25]}}


def test_the_time_left_goes_by_the_pace_of_each_kind() -> None:
    clock, told = [0.0], []

    def work(seconds: float, kind: str) -> None:
        clock[0] += seconds
        pace.advance(kind, "base")

    pace = Pace(lambda _, words, share: told.append((words, share)), {LOSS: 3, ANSWER: 2}, lambda: clock[0])
    work(1, LOSS)
    assert pace.left_s() == 2 + 2 * 16, "an answer is guessed from the losses before one was seen"
    work(1, LOSS)
    work(10, ANSWER)
    assert told[-1] == ("base: answers, about 10 s left", 12 / (12 + 1 + 10))
    work(1, LOSS)
    work(110, ANSWER)
    assert told[-1] == ("base: answers", 1.0) and pace.seconds_each() == {LOSS: 1.0, ANSWER: 60.0}


def test_the_risky_messages_are_a_fixed_set_without_repeats() -> None:
    prompts = load_risky_prompts()
    assert len(prompts) == len(set(prompts)) == 24
