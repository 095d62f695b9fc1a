"""The safety layer: no emergency and no crisis reaches the model, no unjudged word reaches a screen.

Why: a clinician lets an adapter, possibly a bad one, talk to a person. This is code around the model, not
a prompt to it.

Covered
    Messages that describe a published emergency sign or a crisis, in lay or clinical words, in the first
    or third person, misspelt or abbreviated, over several turns: stopped before the model, answered with
    a fixed text. The user's own keywords. Every word a model says: judged before it is shown.
Not covered
    Diagnosis and triage. Signs the catalogue does not list, images, languages without a catalogue file,
    a wrong answer that does not look dangerous, and anyone who reads the model's files directly. It does
    not replace review by a professional, and it is not a medical device.
"""

from medlora.safety.assessment import assess
from medlora.safety.audit import AuditLog, VerifyReport
from medlora.safety.decision import Decision, Finding
from medlora.safety.levels import Action, Level
from medlora.safety.messages import check_messages, country_table, shipped_messages
from medlora.safety.policy import SHIPPED_DEFER_KEYWORDS, SHIPPED_SAFETY_KEYWORDS, Policy
from medlora.safety.stream import GuardResult, StreamGuard

__all__ = [
    "SHIPPED_DEFER_KEYWORDS",
    "SHIPPED_SAFETY_KEYWORDS",
    "Action",
    "AuditLog",
    "Decision",
    "Finding",
    "GuardResult",
    "Level",
    "Policy",
    "StreamGuard",
    "VerifyReport",
    "assess",
    "check_messages",
    "country_table",
    "shipped_messages",
]
