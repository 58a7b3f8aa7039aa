// The bar above a session that the gateway shows: meters, buttons, panels, notices. A way of access adds its own.
//
//   const bar = new Bar(document.querySelector('#bar'), session, () => screen.focus());   // as session.js tells it
//   bar.button({ name: 'whole', label: 'Full screen', press: () => … });
//   const panel = bar.panel({ name: 'keyboard', label: 'Keys' });   // an element to fill
//   bar.standard();                                                   // people, full screen, share, stop
//   bar.bytes(1024);                                                  // what has come, for the meter
//
// Ctrl+Alt+Shift, pressed and let go without another key, goes to the bar and back.

import { icon } from './icons.js';
import { portalPage, watchEnd } from './session.js';

const METER_MS = 1000;
const PING = '/_openraas/ping';
const PING_MS = 3000;
const PINGS = 5;
const MODIFIERS = ['Control', 'Alt', 'Shift'];
const NOTICE_MS = 8000;

export class Bar {
  #element;
  #session;
  #back;
  #meters;
  #buttons;
  #notices;
  #panels = new Map();
  #came = 0;
  #people;

  // `back` gives the focus to what the session shows.
  constructor(element, session, back) {
    this.#element = element;
    this.#session = session;
    this.#back = back;
    element.classList.add('bar');
    element.setAttribute('role', 'toolbar');
    element.setAttribute('aria-label', 'Session');
    this.#meters = make('div', 'meters', element);
    this.#buttons = make('div', 'buttons', element);
    this.#notices = make('div', 'notices', document.body);
    this.#notices.setAttribute('role', 'status');
    this.#listen();
    this.#measure();
    this.#watchLease();
  }

  // A number that is always in sight; `set(text)` on what is returned.
  meter(label) {
    const meter = make('span', 'meter', this.#meters);
    meter.title = label;
    const name = make('span', 'unseen', meter);
    name.textContent = `${label}: `;
    const value = make('span', 'value', meter);
    value.textContent = '–';
    return { set: (text, state = '') => ((value.textContent = text), (meter.dataset.state = state)) };
  }

  button({ name, label, press }) {
    const button = make('button', '', this.#buttons);
    button.type = 'button';
    this.#face(button, name, label);
    button.addEventListener('click', () => press(button));
    return button;
  }

  link({ name, label, href }) {
    const link = make('a', '', this.#buttons);
    link.href = href;
    link.target = '_blank';
    link.rel = 'noopener';
    this.#face(link, name, label);
    return link;
  }

  // A button that opens a panel below the bar; returns the panel's body.
  panel({ name, label }) {
    const panel = make('section', 'panel', document.body);
    panel.id = `panel-${name}`;
    panel.hidden = true;
    panel.setAttribute('aria-label', label);
    make('h2', '', panel).textContent = label;
    const button = this.button({ name, label, press: () => this.#toggle(name) });
    button.setAttribute('aria-expanded', 'false');
    button.setAttribute('aria-controls', panel.id);
    this.#panels.set(name, { panel, button });
    return make('div', 'body', panel);
  }

  // What every session has, after what a way of access has of its own.
  standard() {
    const portal = portalPage(this.#session);
    this.#people = this.panel({ name: 'people', label: 'Who is here' });
    this.#showPeople(this.#session);
    this.button({ name: 'whole', label: 'Full screen', press: () => this.#wholeScreen() });
    if (portal) {
      this.link({ name: 'share', label: 'Share', href: portal.share });
      this.link({ name: 'stop', label: 'Stop', href: portal.stop });
    }
    const fold = this.button({ name: 'fold', label: 'Hide the bar', press: () => this.#fold(fold) });
  }

  // The session as it is now: who is here, and until when.
  update(session) {
    this.#session = session;
    this.#showPeople(session);
  }

  // So many bytes have come.
  bytes(count) {
    this.#came += count;
  }

  // A sentence for some seconds; `stay` keeps it until somebody has read it. Gives the element.
  notice(text, { stay = false, href = '', link = '' } = {}) {
    const notice = make('p', 'notice', this.#notices);
    make('span', '', notice).textContent = text;
    if (href) {
      const anchor = make('a', '', notice);
      anchor.href = href;
      anchor.target = '_blank';
      anchor.rel = 'noopener';
      anchor.textContent = link;
    }
    if (!stay) {
      setTimeout(() => notice.remove(), NOTICE_MS);
      return notice;
    }
    const read = make('button', '', notice);
    read.type = 'button';
    read.textContent = 'OK';
    read.addEventListener('click', () => {
      notice.remove();
      this.#back();
    });
    return notice;
  }

  #face(element, name, label) {
    element.dataset.name = name;
    element.title = label;
    element.replaceChildren(icon(name));
    make('span', 'label', element).textContent = label;
  }

  #toggle(name) {
    for (const [other, { panel, button }] of this.#panels) {
      const open = other === name && panel.hidden;
      panel.hidden = !open;
      button.setAttribute('aria-expanded', String(open));
      if (open) panel.querySelector('input, select, textarea, button')?.focus();
    }
  }

  #close() {
    for (const { panel, button } of this.#panels.values()) {
      if (panel.hidden) continue;
      const inside = panel.contains(document.activeElement);
      panel.hidden = true;
      button.setAttribute('aria-expanded', 'false');
      if (inside) button.focus();
      return true;
    }
    return false;
  }

  #listen() {
    let alone = false;
    document.addEventListener(
      'keydown',
      (event) => {
        const all = event.ctrlKey && event.altKey && event.shiftKey;
        alone = MODIFIERS.includes(event.key) && (alone || all);
        if (event.key !== 'Escape') return;
        const ours = this.#element.contains(document.activeElement) || document.activeElement?.closest('.panel');
        if (!ours) return;
        event.stopPropagation();
        if (!this.#close()) this.#back();
      },
      true,
    );
    // Only once all are up, and after what is shown has seen it: it knows each of them come and go.
    document.addEventListener(
      'keyup',
      (event) => {
        if (!alone || event.ctrlKey || event.altKey || event.shiftKey) return;
        alone = false;
        setTimeout(() => {
          if (this.#element.contains(document.activeElement)) this.#back();
          else this.#first()?.focus();
        });
      },
      true,
    );
    // Arrow keys go along a toolbar (WAI-ARIA practices).
    this.#element.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const all = [...this.#element.querySelectorAll('button, a')].filter((item) => item.offsetParent);
      const at = all.indexOf(document.activeElement);
      all[(at + step + all.length) % all.length]?.focus();
      event.preventDefault();
    });
  }

  #first() {
    return [...this.#element.querySelectorAll('button, a')].find((item) => item.offsetParent);
  }

  #measure() {
    const trip = this.meter('Round trip to the box');
    const rate = this.meter('What comes from the box');
    followRoundTrip((ms) => {
      if (ms === null) trip.set('no answer', 'bad');
      else trip.set(`${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`, ms < 50 ? 'good' : ms < 150 ? 'fair' : 'bad');
    });
    let last = performance.now();
    setInterval(() => {
      const now = performance.now();
      rate.set(showRate((this.#came * 8000) / (now - last)));
      this.#came = 0;
      last = now;
    }, METER_MS);
  }

  #showPeople(session) {
    if (!this.#people) return;
    const list = document.createElement('ul');
    for (const person of session.people) {
      const name = person.name || 'Somebody';
      const what = person.mode === 'watch' ? 'watches' : 'has control';
      make('li', '', list).textContent = `${name}${person.you ? ' (you)' : ''} ${what}`;
    }
    this.#people.replaceChildren(list);
    const { button } = this.#panels.get('people');
    button.dataset.count = session.people.length > 1 ? session.people.length : '';
    for (const person of session.people) {
      if (this.known && !person.you && !this.known.has(person.since + person.name)) {
        const what = person.mode === 'watch' ? 'watches now' : 'has come and may take control';
        this.notice(`${person.name || 'Somebody'} ${what}.`);
      }
    }
    this.known = new Set(session.people.map((person) => person.since + person.name));
  }

  #watchLease() {
    let last = null;
    watchEnd(
      () => this.#session,
      (minutes) => {
        last?.remove();
        last = minutes === null ? null : this.#warn(minutes);
      },
    );
  }

  #warn(minutes) {
    const lease = portalPage(this.#session)?.lease ?? '';
    return this.notice(`This session ends in ${minutes} min.`, {
      stay: true,
      href: lease,
      link: lease && 'Keep it running longer',
    });
  }

  #wholeScreen() {
    if (document.fullscreenElement) {
      document.exitFullscreen();
      return;
    }
    // With the keyboard locked, Escape and Alt+Tab reach the session too; holding Escape still leaves.
    document.documentElement
      .requestFullscreen()
      .then(() => navigator.keyboard?.lock?.())
      .then(() => this.#back())
      .catch(() => this.notice('This browser does not allow full screen here.'));
  }

  #fold(button) {
    const folded = document.body.classList.toggle('folded');
    this.#face(button, folded ? 'unfold' : 'fold', folded ? 'Show the bar' : 'Hide the bar');
    this.#close();
    if (folded) this.#back();
  }
}

export function make(tag, className, parent) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  parent?.append(element);
  return element;
}

// A field with its label: `control` is an input, select or textarea.
export function field(parent, label, control) {
  const row = make('label', 'field', parent);
  make('span', '', row).textContent = label;
  row.append(control);
  return control;
}

export function choice(values, chosen) {
  const select = document.createElement('select');
  for (const [value, label] of values) select.append(new Option(label, value, false, String(value) === String(chosen)));
  return select;
}

function showRate(bits) {
  if (bits < 1000) return '0 kbit/s';
  if (bits < 1e6) return `${Math.round(bits / 1000)} kbit/s`;
  return `${(bits / 1e6).toFixed(1)} Mbit/s`;
}

// Call `tell(milliseconds)` with the middle one of the last few round trips to the box, while the page is looked at;
// `tell(null)` when it does not answer.
async function followRoundTrip(tell) {
  const last = [];
  for (;;) {
    if (!document.hidden) {
      const began = performance.now();
      try {
        await fetch(PING, { cache: 'no-store' });
        last.push(performance.now() - began);
        if (last.length > PINGS) last.shift();
        tell([...last].sort((a, b) => a - b)[Math.floor(last.length / 2)]);
      } catch {
        tell(null);
      }
    }
    await new Promise((done) => setTimeout(done, PING_MS));
  }
}
