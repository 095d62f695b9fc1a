"""Scripts for those who use no mouse: single keys as presses, and what Gradio's parts lack to be reached.

X presses the button with the class `ml-key-X` while no text is being written.
"""

from pathlib import Path

REACH = Path(__file__).parent / "assets" / "reach.js"

PRESS_BY_KEY = """() => {
  if (window.medloraKeys) return;
  window.medloraKeys = true;
  const writing = 'input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable=true]';
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (!/^[a-z0-9]$/i.test(event.key) || event.target.closest(writing)) return;
    const named = document.querySelectorAll('.ml-key-' + event.key.toLowerCase());
    const button = [...named].find((one) => one.offsetParent !== null && !one.disabled);
    if (button) { event.preventDefault(); button.click(); }
  });
}"""


def page_script() -> str:
    """What runs when the page opens: both, as one event."""
    return f"() => {{ ({PRESS_BY_KEY})(); ({REACH.read_text(encoding='utf-8')})(); }}"
