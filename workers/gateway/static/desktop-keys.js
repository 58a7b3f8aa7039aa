// Keys that a browser keeps for itself or a phone does not have, and a phone's own keyboard.

import KeyTable from './packages/novnc/core/input/keysym.js';
import symbols from './packages/novnc/core/input/keysymdef.js';
import { make } from './bar.js';

const HELD = [
  ['Ctrl', KeyTable.XK_Control_L, 'ControlLeft'],
  ['Alt', KeyTable.XK_Alt_L, 'AltLeft'],
  ['Shift', KeyTable.XK_Shift_L, 'ShiftLeft'],
  ['Super', KeyTable.XK_Super_L, 'MetaLeft'],
];
const KEYS = [
  ['Esc', KeyTable.XK_Escape, 'Escape'],
  ['Tab', KeyTable.XK_Tab, 'Tab'],
  ['Enter', KeyTable.XK_Return, 'Enter'],
  ['Del', KeyTable.XK_Delete, 'Delete'],
  ['←', KeyTable.XK_Left, 'ArrowLeft', 'Left'],
  ['↑', KeyTable.XK_Up, 'ArrowUp', 'Up'],
  ['↓', KeyTable.XK_Down, 'ArrowDown', 'Down'],
  ['→', KeyTable.XK_Right, 'ArrowRight', 'Right'],
  ['Home', KeyTable.XK_Home, 'Home'],
  ['End', KeyTable.XK_End, 'End'],
  ['PgUp', KeyTable.XK_Page_Up, 'PageUp'],
  ['PgDn', KeyTable.XK_Page_Down, 'PageDown'],
  ['Print', KeyTable.XK_Print, 'PrintScreen'],
];
const FUNCTIONS = Array.from({ length: 12 }, (_, at) => [`F${at + 1}`, KeyTable.XK_F1 + at, `F${at + 1}`]);

// `desktop.screen` is the connected screen, whichever that is now.
export function addKeys(bar, desktop) {
  const panel = bar.panel({ name: 'keyboard', label: 'Keys' });
  make('p', '', panel).textContent = 'What you type arrives as your own keyboard has it, whatever its layout.';
  const held = row(panel);
  for (const [label, symbol, code] of HELD) {
    const button = key(held, label, () => {
      const down = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(down));
      desktop.screen.sendKey(symbol, code, down);
    });
    button.setAttribute('aria-pressed', 'false');
  }
  for (const group of [KEYS, FUNCTIONS]) {
    const keys = row(panel);
    for (const [label, symbol, code, spoken] of group) {
      key(keys, label, () => desktop.screen.sendKey(symbol, code), spoken);
    }
  }
  const special = row(panel);
  key(special, 'Ctrl+Alt+Del', () => desktop.screen.sendCtrlAltDel());
  key(special, 'Open the phone’s keyboard', () => document.querySelector('#typing').focus());
  listenToPhone(desktop);
}

function row(panel) {
  return make('div', 'keys', panel);
}

function key(parent, label, press, spoken) {
  const button = make('button', '', parent);
  button.type = 'button';
  button.textContent = label;
  if (spoken) button.setAttribute('aria-label', spoken);
  button.addEventListener('click', press);
  return button;
}

// A phone's keyboard tells what it has typed only as the field's new text.
function listenToPhone(desktop) {
  const typing = document.querySelector('#typing');
  const KEPT = '          ';
  const reset = () => {
    typing.value = KEPT;
    typing.setSelectionRange(KEPT.length, KEPT.length);
  };
  typing.addEventListener('focus', reset);
  typing.addEventListener('input', (event) => {
    if (event.isComposing) return;
    const now = typing.value;
    let same = 0;
    while (same < KEPT.length && now[same] === KEPT[same]) same += 1;
    for (let gone = KEPT.length; gone > same; gone -= 1) desktop.screen.sendKey(KeyTable.XK_BackSpace, 'Backspace');
    for (const letter of now.slice(same)) {
      if (letter === '\n') desktop.screen.sendKey(KeyTable.XK_Return, 'Enter');
      else desktop.screen.sendKey(symbols.lookup(letter.codePointAt(0)), null);
    }
    reset();
  });
}
