"""The sections `data`, `safety` and `inference`: what is read, what is guarded, how answers are drawn."""

from __future__ import annotations

from typing import Literal

from medlora.config.declare import Section, setting

SYSTEM_PROMPT = (
    "You are a helpful medical AI assistant. Your responses should be:\n"
    "- Accurate and evidence-based\n"
    "- Clear about limitations and when to seek professional help\n"
    "- Respectful of patient privacy and professional boundaries\n"
    "- Compliant with medical ethics and safety guidelines\n"
)


class DataSettings(Section):
    """The dataset and how its records become examples."""

    dataset_path: str | None = setting(
        None,
        "Dataset",
        "The JSONL file to train on. Relative paths start at the current folder, then at the app's folder.",
        max_length=1000,
        bounds="the path of a JSONL file",
        example="./data/my_custom_data.jsonl",
    )
    max_seq_length: int = setting(
        2048,
        "Longest sequence",
        "Records longer than this are cut at the end (and counted before training). Memory grows with it.",
        ge=16,
        le=1_048_576,
        unit="tokens",
        source="the configuration manual",
    )
    truncation: bool = setting(
        True,
        "Truncate",
        "Cut records that are too long. When false, they are left out instead, and counted.",
    )
    padding: bool | Literal["longest", "max_length"] = setting(
        False,
        "Padding",
        "Accepted for older files. Batches are laid end to end without padding, so no filler is computed and "
        "the results are the same.",
        bounds="true, false, longest or max_length",
    )
    eval_dataset_size: float = setting(
        0.1,
        "Held out for evaluation",
        "The share of records that is never trained on but scored, to see whether the model learns or only "
        "remembers. 0.1 is 10 %; 0 turns evaluation off.",
        ge=0,
        lt=1,
        unit="share of the records",
        source="the configuration manual: 10 % for validation",
    )
    min_length: int = setting(
        0,
        "Shortest record",
        "Records with fewer tokens are left out (and counted). Tokens of the record's own texts, without the "
        "system prompt or the chat template.",
        ge=0,
        le=1_048_576,
        unit="tokens",
    )
    max_length: int | None = setting(
        None,
        "Longest record",
        "Records with more tokens are left out (and counted). Counted like the shortest record.",
        ge=1,
        le=1_048_576,
        unit="tokens",
    )


class SafetySettings(Section):
    """What guards the conversation; emergencies and crises are stopped whatever is set here."""

    system_prompt: str = setting(
        SYSTEM_PROMPT,
        "System prompt",
        "What the model is told before every conversation, in training and in chat. A record with its own "
        "system turn keeps it.",
        max_length=8000,
        source="the configuration manual",
    )
    content_filter: bool = setting(
        True,
        "Content filter",
        "When off, a banner says so, every turn is audited, and emergencies and crises still stop the model.",
    )
    safety_keywords: list[str] = setting(
        ["emergency", "diagnosis", "prescription", "dosage"],
        "Caution words",
        "Messages with these words are answered with a note of caution and audited.",
        max_length=500,
        bounds="a list of words or phrases",
        source="the configuration manual",
    )
    defer_keywords: list[str] = setting(
        ["chest pain", "difficulty breathing", "severe", "emergency"],
        "Referral words",
        "Messages with these words, used of a person who is unwell, are referred to a professional.",
        max_length=500,
        bounds="a list of words or phrases",
        source="the configuration manual",
    )
    country: str = setting(
        "none",
        "Country",
        "Two letters, such as GB: emergency and crisis numbers are shown for it. `none` says “your local "
        "emergency number”.",
        pattern=r"^([A-Z]{2}|none)$",
        bounds="a country's two capital letters, or none",
        example="GB",
    )
    messages: dict[str, str] = setting(
        {},
        "Fixed texts",
        "Your own words for the fixed texts that are shown instead of the model's.",
        max_length=50,
    )
    strict: bool = setting(
        False,
        "Strict output",
        "Withhold, rather than annotate, answers that give an individual dose, change a medicine or state a "
        "diagnosis.",
    )
    semantic: bool = setting(
        False,
        "Semantic tier",
        "Let a small sentence model look for danger in words that no rule lists. Alone it adds a caution, "
        "with a weak sign beside it a referral. Needs `pip install -r requirements-semantic.txt`; without "
        "it nothing changes. Adds a few milliseconds a message; English only.",
    )
    audit_raw_text: bool = setting(
        False,
        "Raw text in the audit",
        "Write the messages themselves into the audit log. Off, it holds a keyed digest only.",
    )


class InferenceSettings(Section):
    """How answers are drawn from the model in chat."""

    max_new_tokens: int = setting(
        256, "Longest answer", "An answer that reaches it is cut, and says so.", ge=1, le=8192, unit="tokens"
    )
    temperature: float = setting(
        0.3,
        "Temperature",
        "0 always takes the likeliest word (greedy, repeatable); higher is more varied and less reliable.",
        ge=0,
        le=2,
    )
    top_p: float = setting(
        0.9,
        "Top p",
        "Only the likeliest words that together have this probability are drawn from.",
        gt=0,
        le=1,
    )
    repetition_penalty: float = setting(
        1.1, "Repetition penalty", "Above 1 it makes repeating words less likely; 1 turns it off.", ge=1, le=2
    )
    seed: int = setting(
        42, "Seed", "The same seed, settings and question give the same answer.", ge=0, le=2**32 - 1
    )
    eight_bit: bool = setting(
        False,
        "8-bit answers on a processor",
        "Without a GPU, true writes answers from weights rounded to 8 bits: for a model too large to be "
        "quick, since the wording of answers changes a little. Evaluations always use the whole weights.",
        source="docs/performance.md, Chat: speed, perplexity and agreement with full precision",
    )
    context_length: int | None = setting(
        None,
        "Context length",
        "How much of the conversation the model sees; oldest turns go first, with a notice. Without a value: "
        "what the model can take.",
        ge=64,
        le=1_048_576,
        unit="tokens",
    )
    base_url: str | None = setting(
        None,
        "Server that answers",
        "The address of a server with OpenAI's interface, such as vLLM, Ollama, llama.cpp or `transformers "
        "serve`; its models are then offered in the chat beside those of this machine, behind the same "
        "safety layer. A key that the server wants stands in the environment variable MEDLORA_API_KEY.",
        max_length=300,
        bounds="the address of a server, such as http://127.0.0.1:8000/v1, without a name or key in it",
        pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$",
        example="http://127.0.0.1:8000/v1",
    )
    served_models: list[str] = setting(
        [],
        "Models of the server",
        "The names by which the server knows the models that may answer. vLLM serves each LoRA adapter under "
        "a name of its own.",
        example="[phi-4-mini, cardiology]",
    )
    allow_remote: bool = setting(
        False,
        "Another machine may read along",
        "Needed for a server on another machine: every conversation with its models leaves this one. The "
        "page then no longer says that it is local, but where the words go.",
        source="private by default",
    )
    served_at_once: int = setting(
        4,
        "Answers at once from the server",
        "How many answers the server is asked for at the same time; who comes later sees their place in the "
        "queue.",
        ge=1,
        le=256,
    )
