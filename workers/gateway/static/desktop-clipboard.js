// The clipboard of the screen and that of this computer: by hand always, by itself where the person wants it.

import { field, make } from './bar.js';

export function addClipboard(bar, desktop) {
  const panel = bar.panel({ name: 'clipboard', label: 'Clipboard' });
  const text = field(panel, 'Copied on the screen, or to be pasted there', document.createElement('textarea'));
  const keys = make('div', 'keys', panel);
  button(keys, 'Give to the screen', () => {
    desktop.screen.clipboardPasteFrom(text.value);
    bar.notice('The screen has it: paste there.');
  });
  button(keys, 'Copy to this computer', async () => {
    try {
      await navigator.clipboard.writeText(text.value);
      bar.notice('This computer has it.');
    } catch {
      text.select();
      bar.notice('The browser does not let this page copy: press Ctrl+C.');
    }
  });
  const both = field(panel, 'Keep both the same while this page is in front', document.createElement('input'));
  both.type = 'checkbox';
  both.parentElement.classList.add('line');
  let last = '';

  async function bring() {
    if (!both.checked || !document.hasFocus()) return;
    try {
      const here = await navigator.clipboard.readText();
      if (here && here !== last) {
        last = here;
        text.value = here;
        desktop.screen.clipboardPasteFrom(here);
      }
    } catch {
      both.checked = false;
      bar.notice('The browser does not let this page read the clipboard.');
    }
  }
  both.addEventListener('change', bring);
  window.addEventListener('focus', bring);

  return {
    // The screen has copied something.
    async came(what) {
      text.value = what;
      last = what;
      if (!both.checked) return;
      try {
        await navigator.clipboard.writeText(what);
      } catch {
        bar.notice('Something was copied on the screen; it is in the clipboard panel.');
      }
    },
  };
}

function button(parent, label, press) {
  const made = make('button', '', parent);
  made.type = 'button';
  made.textContent = label;
  made.addEventListener('click', press);
  return made;
}
