"""The catalogue of signs: data in YAML, checked and compiled once at start.

Adding a sign is adding data: a concept with its level, its published sign, its source, its rules over
term lists, and examples that become tests. `en/` is complete; the other languages hold the crisis and
emergency concepts.
"""

from medlora.safety.catalogue.build import Catalogue, ConceptInfo, load_catalogue, read_files
from medlora.safety.catalogue.rules import Rule

__all__ = ["Catalogue", "ConceptInfo", "Rule", "load_catalogue", "read_files"]
