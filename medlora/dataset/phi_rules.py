"""The recognisers of the PHI scan for what is written in digits, and for mailboxes and web pages.

Every pattern has bounded repeats only, so that a scan takes time in proportion to the text.
"""

from __future__ import annotations

import re

from medlora.dataset.phi_rule import Rule, cue_words


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _is_card(match: re.Match[str]) -> bool:
    """Source: the Luhn check, ISO/IEC 7812-1, annex B."""
    digits = _digits(match[0])
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(d // 10 + d % 10 for d in doubled) % 10 == 0


def _is_nhs_number(match: re.Match[str]) -> bool:
    """Source: NHS Data Dictionary, modulus 11 check digit."""
    digits = _digits(match["phi"])
    check = 11 - sum(int(d) * weight for d, weight in zip(digits, range(10, 1, -1), strict=False)) % 11
    return len(set(digits)) > 1 and check != 10 and check % 11 == int(digits[9])


def _is_personal_phone(match: re.Match[str]) -> bool:
    """Toll-free and premium lines belong to institutions."""
    digits = _digits(match["phi"]).removeprefix("00").removeprefix("1")
    if re.match(r"8(?:00|33|44|55|66|77|88)|0?(?:800|808|300|845)|900", digits):
        return False
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2


def _is_personal_mailbox(match: re.Match[str]) -> bool:
    """Not an institution's shared mailbox, unless it is made of a first and a last name."""
    role, domain = match["role"].casefold(), match["domain"].casefold()
    public = re.search(r"\.(?:gov|mil|int|org|edu)(?:\.\w{2})?$|\.nhs\.uk$|\.ac\.\w{2}$", domain)
    named = re.fullmatch(r"[a-z]{2,20}[._][a-z]{2,20}\d{0,4}", role)
    shared = re.match(
        r"info|contact|support|help|enquir|inquir|admin|office|service|webmaster|press|media|news|question",
        role,
    )
    return not shared and not (public and not named)


def _is_personal_page(match: re.Match[str]) -> bool:
    """A profile, a portal's record, or an address that carries an identifier."""
    profile = r"(?:facebook|instagram|linkedin|twitter|x|tiktok)\.com/(?!pages?/|groups?/|company/)\S"
    record = r"(?:patient|record|user|member|profile|mrn|chart)s?[/=]\S"
    query = r"[?&](?:id|name|email|dob|mrn|patient)\w{0,12}="
    return bool(re.search(rf"{profile}|{record}|{query}|/~\w", match[0], re.IGNORECASE))


def _is_ip(match: re.Match[str]) -> bool:
    """Four octets that are no version or section number."""
    octets = [int(part) for part in match["phi"].split(".")]
    return max(octets) < 256 and max(octets) > 31


def _is_great_age(match: re.Match[str]) -> bool:
    return 89 < int(match["phi"]) < 123


def _stands_in_address(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - 60) : match.start()]
    return bool(re.search(r"postcode|address|\bliv(?:es|ing)|,\s*$", before, re.IGNORECASE))


def _any_case(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
DATE = (
    r"(?:\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|\d{4}[-/.]\d{1,2}[-/.]\d{1,2}"
    rf"|{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?[\s-]+(?:of\s+)?{_MONTH},?[\s-]+\d{{2,4}})"
)
# An identifier with at least one digit, and the words that may stand between it and what it identifies.
_CODE = r"(?P<phi>(?=[A-Z0-9-]{0,10}\d)[A-Z0-9][A-Z0-9-]{3,19}\b)"
_LINK = r"(?:\s{0,2}(?:is|was|no\.?|number|num\.?|id|identifier|#|:|=|\(|\))){0,4}\s{0,2}"
_OF_ID = r"\s+(?=no\b|num|id\b|ident|#)"
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Close|Crescent|Terrace|Place|Pl|"
    r"Way|Square|Parkway|Pkwy|Circle|Highway|Gardens|Grove|Mews)\b\.?"
)
_NOT_A_GROUP = r"(?!\s*(?:%|percent|days|weeks|months|minutes|(?:and|or)\s+(?:over|older|above)|\+|-|to\b|–))"

NUMBER_RULES: tuple[Rule, ...] = (
    Rule(
        "email",
        _any_case(r"\b(?P<role>[\w.+%-]{1,64})@(?P<domain>[\w-]{1,63}(?:\.[\w-]{1,63}){1,4})\b"),
        _is_personal_mailbox,
        cues=("@",),
        digit=False,
    ),
    Rule(
        "url",
        _any_case(r"\b(?:https?://|www\.)[^\s<>\"']{4,300}"),
        _is_personal_page,
        cues=("://", "www."),
        digit=False,
    ),
    Rule(
        "date_of_birth",
        _any_case(
            r"\b(?:d\.?\s?o\.?\s?b\b\.?|date\s+of\s+birth|birth\s?date|birthday|born(?:\s+on)?)(?:\s+is|\s+was)?"
            rf"\s{{0,2}}[:=-]?\s{{0,2}}\(?(?P<phi>{DATE})"
        ),
        cues=("birth", "born", "dob", "d.o", "d o b", "o.b"),
    ),
    Rule(
        "mrn",
        _any_case(
            rf"\b(?:mrn|m\.r\.n\.|emrn|nhi|medical\s+record|health\s+record|unit\s+number|encounter|accession|"
            rf"patient_?id|hospital{_OF_ID}|patient{_OF_ID}|chart{_OF_ID}|case{_OF_ID}){_LINK}{_CODE}"
        ),
        cues=cue_words("mrn m.r.n nhi record unit encounter accession patient hospital chart case"),
    ),
    Rule(
        "ssn",
        _any_case(
            r"\b(?:ssn|social\s+security)(?:\s+(?:number|no\.?|#))?(?:\s+is)?\s{0,2}[:#]?\s{0,2}"
            r"(?P<phi>\d{3}[ -]?\d\d[ -]?\d{4})\b"
        ),
        cues=("ssn", "social"),
    ),
    # Source: the Social Security Administration's rules for areas, groups and serials that are never given.
    Rule(
        "ssn", _any_case(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\d-])"), cues=("-",)
    ),
    Rule(
        "nhs_number",
        _any_case(
            r"\bnhs(?:\s+(?:number|no\.?|#))?(?:\s+is)?\s{0,2}[:#]?\s{0,2}(?P<phi>\d{3}[\s-]?\d{3}[\s-]?\d{4})\b"
        ),
        _is_nhs_number,
        cues=("nhs",),
    ),
    Rule(
        "card_number",
        re.compile(r"(?<![\d-])\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}(?![\d-])"),
        _is_card,
    ),
    Rule(
        "id_number",
        _any_case(
            r"\b(?:passport|driver'?s?\s+licen[cs]e|driving\s+licence|national\s+(?:id|insurance|identity)|"
            r"identity\s+card|social\s+insurance|licen[cs]e\s+plate|number\s+plate|vin\s*:|"
            rf"(?:medicare|medicaid|insurance|member(?:ship)?|policy|account|beneficiary){_OF_ID}){_LINK}{_CODE}"
        ),
        cues=cue_words(
            "passport licen national identity social plate vin medicare medicaid insurance member policy "
            "account beneficiary"
        ),
    ),
    Rule(
        "device_id",
        _any_case(rf"\b(?:serial|imei|udi|s/n|(?:device|implant){_OF_ID}){_LINK}{_CODE}|\(01\)\d{{14}}"),
        cues=cue_words("serial imei udi s/n device implant 01)"),
    ),
    Rule("mac_address", _any_case(r"\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b"), cues=(":", "-")),
    Rule(
        "ip_address",
        re.compile(
            r"(?<![\d.])(?<!ersion )(?<!ection )(?P<phi>\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(?![\d.]*\d)"
        ),
        _is_ip,
    ),
    Rule("ip_address", _any_case(r"(?<![\w:])(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}(?![\w:])"), cues=(":",)),
    Rule(
        "phone",
        _any_case(
            r"(?<![\w.,/+-])(?P<phi>(?:\+?1[ .-]?)?(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-. ]\d{4}"
            r"(?:\s{0,2}(?:x|ext\.?)\s{0,2}\d{1,5})?)(?![\w-]|[.,]\d)"
        ),
        _is_personal_phone,
    ),
    Rule(
        "phone",
        re.compile(
            r"(?<![\w.,/])(?P<phi>\+\d{1,3}[ .-]?(?:\(0\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4})(?![\w-])"
        ),
        _is_personal_phone,
        cues=("+",),
    ),
    Rule(
        "phone",
        re.compile(r"(?<![\w.,/+-])(?P<phi>\(?0\d{2,4}\)?[ -]\d{3,4}(?:[ -]\d{3,4}|\d{3}))(?![\w-])"),
        _is_personal_phone,
    ),
    Rule(
        "phone",
        _any_case(
            r"\b(?:phone|tel(?:ephone)?|mobile|cell|fax|pager|call\s+(?:me|him|her)(?:\s+(?:at|on))?)\b"
            r"(?:\s+(?:number|no\.?|is)){0,2}\s{0,2}[:.#]?\s{0,2}(?P<phi>\+?\(?\d[\d ().-]{5,16}\d)"
        ),
        _is_personal_phone,
        cues=cue_words("phone tel mobile cell fax pager call"),
    ),
    Rule(
        "date",
        _any_case(
            r"\b(?:admitted|discharged|transferred|died|deceased|passed\s+away|seen|presented|operated|appointment|"
            r"date\s+of\s+(?:service|admission|discharge|death|visit)|admission|discharge|surgery|visit)"
            r"(?:\s+(?:date|to|from|in|at|by|the|our|clinic|hospital|home|ward|is|was|again)){0,4}(?:\s+on)?"
            rf"\s{{0,2}}[:=]?\s{{0,2}}(?P<phi>{DATE})"
        ),
        cues=cue_words(
            "admi discharge transferred died deceased away seen presented operated appointment service "
            "surgery visit"
        ),
    ),
    Rule(
        "age_over_89",
        _any_case(
            r"\b(?P<phi>9\d|1[0-2]\d)(?:\s{0,2}-?\s{0,2}(?:years?|yrs?)[\s-]{1,2}old\b"
            r"(?!\s+(?:and|or)\s+(?:over|older|above))|\s?(?:y/?o|yo)\b)"
        ),
        _is_great_age,
        cues=("old", "yo", "y/o"),
    ),
    Rule(
        "age_over_89",
        _any_case(
            r"(?<!over )(?<!under )\b(?:aged|age\s?[:=]|age\s+is|turned)\s{0,2}(?P<phi>9\d|1[0-2]\d)\b"
            rf"{_NOT_A_GROUP}"
        ),
        _is_great_age,
        cues=cue_words("age turned"),
    ),
    Rule(
        "address",
        re.compile(
            r"(?<![\w.,-])(?P<phi>\d{1,5}[A-Za-z]?,?\s+(?:[NSEW]\.?\s+)?(?:[A-Z][a-z]{1,20}|\d{1,3}(?:st|nd|rd|th))"
            rf"(?:\s+[A-Z][a-z]{{1,20}}){{0,3}}\s+{_STREET}"
            r"(?:,?\s+(?:Apt|Apartment|Suite|Unit|Flat|#)\.?\s{0,2}\w{1,6})?)"
        ),
    ),
    Rule(
        "address",
        re.compile(r"\b(?:P\.?\s?O\.?\s+Box|Apt\.?|Apartment|Flat)\s+\d{1,6}[A-Z]?,\s+[A-Z][a-z]{1,20}"),
        cues=cue_words("box apt apartment flat"),
    ),
    Rule(
        "address",
        re.compile(r"\b(?P<phi>[A-Z]{1,2}\d[A-Z\d]?\s\d[ABD-HJLNP-UW-Z]{2})\b"),
        _stands_in_address,
    ),
    Rule(
        "address",
        re.compile(r"\b(?P<phi>[A-Z][a-z]{2,20}(?:\s[A-Z][a-z]{2,20})?,\s[A-Z]{2}\s\d{5}(?:-\d{4})?)\b"),
    ),
)
