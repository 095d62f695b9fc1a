"""What identifies a person is found and masked; what patient education is full of is left alone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from medlora.dataset.check import CheckOptions, check_file
from medlora.dataset.phi import PhiFinding, find_phi, mask_text, redact_text

FOUND = {
    "Call me at (212) 555-0182 tonight.": [("phone", "(212) 555-0182")],
    "Her mobile is 07700 900123.": [("phone", "07700 900123")],
    "Reach him on +44 20 7946 0958.": [("phone", "+44 20 7946 0958")],
    "Write to jane.roe@example.com please.": [("email", "jane.roe@example.com")],
    "MRN: 00482913": [("mrn", "00482913")],
    "hospital number A1234567": [("mrn", "A1234567")],
    "Patient ID 44-8812": [("mrn", "44-8812")],
    "SSN 212-45-6789": [("ssn", "212-45-6789")],
    "NHS number 943 476 5919": [("nhs_number", "943 476 5919")],
    "DOB 03/04/1961": [("date_of_birth", "03/04/1961")],
    "She was born on 4 March 1961.": [("date_of_birth", "4 March 1961")],
    "He was admitted on 2021-03-12 with pain.": [("date", "2021-03-12")],
    "a 93-year-old woman": [("age_over_89", "93")],
    "She is aged 101 and well.": [("age_over_89", "101")],
    "lives at 12 Maple Street, Apt 4": [("address", "12 Maple Street, Apt 4")],
    "Springfield, IL 62704": [("address", "Springfield, IL 62704")],
    "his address is Leeds, LS1 4DY": [("address", "LS1 4DY")],
    "https://portal.example.com/patient/8812": [("url", "https://portal.example.com/patient/8812")],
    "from 203.0.113.77": [("ip_address", "203.0.113.77")],
    "mac 00:1A:2B:3C:4D:5E": [("mac_address", "00:1A:2B:3C:4D:5E")],
    "pacemaker serial number PJN7731204": [("device_id", "PJN7731204")],
    "passport no. X1234567": [("id_number", "X1234567")],
    "paid with 4111 1111 1111 1111": [("card_number", "4111 1111 1111 1111")],
    "Mr. John Smith came back.": [("name", "John Smith")],
    "Mrs O'Neill called.": [("name", "O'Neill")],
    "Mr Parkinson came back.": [("name", "Parkinson")],
    "patient Maria Gonzalez reports pain": [("name", "Maria Gonzalez")],
    "Patient name: Ann Lee": [("name", "Ann Lee")],
    "My name is Peter.": [("name", "Peter")],
    "my son Tommy has a rash": [("name", "Tommy")],
    "Maria Gonzalez is a 45-year-old teacher": [("name", "Maria Gonzalez")],
    "Kind regards,\nPeter Brandt": [("name", "Peter Brandt")],
}
LEFT_ALONE = [
    "Crohn's disease and Parkinson's disease are chronic.",
    "Patients with Addison disease need steroids; a Hodgkin patient may not.",
    "Dr. Alzheimer described it in 1906.",
    "In Mr. Bell's palsy the face droops.",
    "Patient Education and Patient Support Groups can help.",
    "Ask your Patient Advocate.",
    "Call 1-800-422-6237 or your local emergency number.",
    "Visit www.cancer.gov or https://www.nhs.uk/conditions/asthma/ for more.",
    "Write to info@example.org with questions.",
    "People aged 90 and over, and adults over 90, are at risk.",
    "About 95% of people aged 65 to 74 recover within 90 days.",
    "Take 500 mg twice a day for 10-14 days; blood pressure 120/80.",
    "The study ran from 12/03/2019 to 14/05/2020 in 1,234,567 adults.",
    "Version 1.2.3.4 of the guideline, section 4.1.2.3.",
    "A 45-year-old woman asks about Down syndrome.",
    "Normal platelets are 150000 to 450000 per microlitre.",
    "The NHS number 9434765918 fails its check.",
    "My mother has diabetes. My husband Is it inherited?",
]


@pytest.mark.parametrize("text", FOUND)
def test_what_identifies_a_person_is_found(text: str) -> None:
    assert [(span.kind, text[span.start : span.end]) for span in find_phi(text)] == FOUND[text]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_patient_education_is_full_of_is_left_alone(text: str) -> None:
    assert find_phi(text) == []


def test_the_shipped_sample_raises_no_alarm(sample: Path) -> None:
    assert check_file(sample, CheckOptions()).phi == []


@pytest.fixture
def sample() -> Path:
    return Path(__file__).resolve().parents[3] / "data" / "sample_patient_education.jsonl"


def test_a_masked_sample_shows_the_form_and_nothing_else() -> None:
    assert mask_text("(212) 555-0182") == "(###) ###-####"
    assert mask_text("Jané Roe\n3") == "Xxxx Xxx #"
    assert mask_text("x" * 99) == "x" * 40 + "…"


def test_redaction_puts_the_kind_in_the_place_of_the_finding() -> None:
    assert redact_text("Mr. John Smith, DOB 03/04/1961.") == "Mr. [NAME], DOB [DATE_OF_BIRTH]."


def test_findings_name_line_and_field_also_in_fields_that_are_not_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    rows = [
        {"question": "Q", "answer": "A"},
        {
            "messages": [{"role": "user", "content": "I am at jane@example.com"}],
            "meta": {"mrn": "MRN 8812345"},
        },
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    report = check_file(path, CheckOptions())

    assert report.phi == [
        PhiFinding(2, "messages[0].content", "email", "xxxx@xxxxxxx.xxx"),
        PhiFinding(2, "meta.mrn", "mrn", "#######"),
    ]
    assert (report.phi_found, report.phi_rows) == (2, 1)


def test_a_hostile_text_takes_linear_time() -> None:
    for piece in ("a@", "1 ", "Patient ", "Mr A", "12-", "born on ", "Aa ", "9:", "a@b.co "):
        started = time.perf_counter()
        find_phi(piece * (50_000 // len(piece)) + " 1 year old")
        assert time.perf_counter() - started < 5, piece
