// What Gradio's parts and our tables lack for a keyboard and a screen reader; a look soon after something changed.
() => {
  if (window.medloraReach) return;
  window.medloraReach = true;
  const scrollers = '.ml-scroll, .ml-changes, .ml-diff, .ml-text';

  // A part that scrolls is a stop of the Tab key, with a name; one that does not is none.
  const mendScroller = (part) => {
    const scrolls = part.scrollHeight > part.clientHeight + 1 || part.scrollWidth > part.clientWidth + 1;
    if (scrolls === part.hasAttribute('tabindex')) return;
    if (!scrolls) return ['tabindex', 'role', 'aria-label'].forEach((name) => part.removeAttribute(name));
    const title = part.querySelector('caption') || part.closest('.ml-card')?.querySelector('h3');
    part.tabIndex = 0;
    if (part.tagName === 'UL') return; // a list keeps its role
    part.setAttribute('role', 'region');
    part.setAttribute('aria-label', title?.textContent.trim() || 'Scrolls');
  };

  const mend = () => {
    document.querySelectorAll(scrollers).forEach(mendScroller);
    // Buttons are no items of a list, but Gradio's chat says they are.
    document.querySelectorAll('#chat-log .examples[role=list]').forEach((part) => {
      part.setAttribute('role', 'group');
      part.setAttribute('aria-label', 'Examples');
    });
  };

  // Who presses a button that then disappears goes on beside it, else at the tab that is shown; not at the top.
  let last = null;
  const keepFocus = () => {
    if (document.activeElement !== document.body || !last || last.offsetParent !== null) return;
    const beside = [...(last.closest('.ml-actions')?.querySelectorAll('button') ?? [])];
    const next = beside.find((one) => one.offsetParent !== null && !one.disabled)
      ?? document.querySelector('#tabs > .tab-wrapper [role=tab][aria-selected=true]');
    last = null;
    next?.focus({ preventScroll: true });
  };
  document.addEventListener('focusin', (event) => {
    last = event.target.tagName === 'BUTTON' ? event.target : null;
  });
  // Tab leaves the editor, as it leaves every other field: no trap, and no blanks that nobody meant.
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Tab' && event.target.closest?.('.cm-editor')) event.stopPropagation();
  }, true);

  let asked = false;
  const ask = () => {
    if (asked) return;
    asked = true;
    setTimeout(() => { asked = false; mend(); keepFocus(); }, 120);
  };
  new MutationObserver(ask).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ['style', 'class'] });
  addEventListener('resize', ask);
  ask();
}
