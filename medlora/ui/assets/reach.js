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

  // One group of choices is one stop of the Tab key, and the arrow keys choose in it; Gradio gives each radio a name
  // of its own, so that the browser does not know of the group.
  const radiosOf = (group) => [...group.querySelectorAll('input[type=radio]')].filter((one) => !one.disabled);
  const mendGroup = (group) => {
    const radios = radiosOf(group);
    const stop = radios.find((one) => one.checked) ?? radios[0];
    radios.forEach((one) => { one.tabIndex = one === stop ? 0 : -1; });
  };
  addEventListener('keydown', (event) => {
    const group = event.target.matches?.('input[type=radio]') ? event.target.closest('fieldset') : null;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!group || !step) return;
    event.preventDefault();
    const radios = radiosOf(group);
    const next = radios[(radios.indexOf(event.target) + step + radios.length) % radios.length];
    next.focus();
    next.click();
  }, true);
  addEventListener('change', (event) => {
    const group = event.target.closest?.('fieldset');
    if (group) setTimeout(() => mendGroup(group), 0);
  }, true);

  const mend = () => {
    document.querySelectorAll(scrollers).forEach(mendScroller);
    document.querySelectorAll('fieldset').forEach(mendGroup);
    // Buttons are no items of a list, but Gradio's chat says they are.
    document.querySelectorAll('.cm-content:not([data-named])').forEach((part) => {
      const label = part.closest('.block')?.querySelector('label')?.textContent.trim();
      part.setAttribute('data-named', '');
      if (label) part.setAttribute('aria-label', label);
    });
    document.querySelectorAll('#chat-log .examples[role=list]').forEach((part) => {
      part.setAttribute('role', 'group');
      part.setAttribute('aria-label', 'Examples');
    });
  };

  // Who presses a button that then disappears goes on at what is now in its place, else at the tab that is shown.
  let last = null;
  const stopsOf = (part) => [...(part?.querySelectorAll('button, input, textarea') ?? [])]
    .filter((one) => one.offsetParent !== null && !one.disabled);
  const placeIn = (part, one) => ({ part, at: stopsOf(part).indexOf(one) });
  const keepFocus = () => {
    if (document.activeElement !== document.body || !last || last.one.offsetParent !== null) return;
    const beside = last.places.map(({ part, at }) => stopsOf(part).at(at) ?? stopsOf(part).at(-1)).find(Boolean);
    last = null;
    (beside ?? document.querySelector('#tabs > .tab-wrapper [role=tab][aria-selected=true]'))?.focus();
  };
  document.addEventListener('focusin', (event) => {
    const one = event.target;
    const around = ['.ml-actions', '.ml-card'].map((name) => one.closest(name)).filter(Boolean);
    last = one.tagName === 'BUTTON' ? { one, places: around.map((part) => placeIn(part, one)) } : null;
  });
  // A list of choices, as the browser's own are: the Tab key does not open it, Down, Enter and Space do; whoever
  // takes an entry by Enter stays there; and passing by is no choice. Gradio tells the app of a choice each time a
  // list is left, and what stands on it (marks not yet saved, a changed configuration) would be drawn anew.
  // Where Gradio has seen the focus come it must also see it go: until then it shows no other value.
  let byTab = false, taking = false, seen = false, before = '';
  const isList = (part) => part.getAttribute?.('role') === 'combobox';
  const isOpen = (list) => list.getAttribute('aria-expanded') === 'true';
  const focusQuietly = (list) => { byTab = true; list.focus(); byTab = false; };
  const open = (list) => { seen = true; list.dispatchEvent(new FocusEvent('focus')); };
  addEventListener('pointerdown', (event) => {
    byTab = false;
    const list = event.target;
    if (isList(list) && list === document.activeElement && !isOpen(list)) open(list);
  }, true);
  addEventListener('keydown', (event) => {
    byTab = event.key === 'Tab';
    const list = event.target;
    if (!isList(list)) return;
    taking = event.key === 'Enter' && isOpen(list);
    if (!isOpen(list) && ['Enter', ' ', 'ArrowDown'].includes(event.key) && (list.readOnly || event.key !== ' ')) {
      event.preventDefault();
      event.stopImmediatePropagation();
      open(list);
    } else if (taking) {
      setTimeout(() => { if (document.activeElement === document.body && list.offsetParent) focusQuietly(list); }, 0);
    }
  }, true);
  addEventListener('focus', (event) => {
    if (!event.isTrusted || !isList(event.target)) return;
    before = event.target.value;
    seen = !byTab;
    if (byTab) event.stopImmediatePropagation();
  }, true);
  addEventListener('blur', (event) => {
    const list = event.target;
    if (isList(list) && !seen && !isOpen(list) && list.value === before) event.stopImmediatePropagation();
  }, true);
  // Tab leaves the editor, as it leaves every other field: no trap, and no blanks that nobody meant.
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Tab' && event.target.closest?.('.cm-editor')) event.stopPropagation();
  }, true);

  // The first stop of the page leads past the header and the strip of tabs.
  document.addEventListener('click', (event) => {
    if (!event.target.closest?.('.ml-skip')) return;
    event.preventDefault();
    const shown = [...document.querySelectorAll('#tabs > [role=tabpanel]')].find((one) => one.offsetParent !== null);
    if (!shown) return;
    shown.tabIndex = -1;
    shown.focus();
  });
  // Arrow keys move along a strip of tabs, Enter or Space opens one: it may be a page of some weight.
  document.addEventListener('keydown', (event) => {
    const strip = event.target.closest?.('[role=tab]')?.closest('[role=tablist]');
    const tabs = strip ? [...strip.querySelectorAll('[role=tab]')].filter((one) => one.offsetParent !== null) : [];
    const at = tabs.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    tabs[(to + tabs.length) % tabs.length].focus();
  });
  // Enter (in a box of several lines Shift+Enter) is for these boxes what leaving them is.
  document.addEventListener('keydown', (event) => {
    const box = event.key === 'Enter' && !event.isComposing && event.target.closest?.('.ml-enter input, .ml-enter textarea');
    if (box && (box.tagName === 'INPUT' || event.shiftKey)) box.dispatchEvent(new FocusEvent('blur'));
  });

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
