// A screen in the browser: noVNC below the session's bar.

import RFB from './packages/novnc/core/rfb.js';
import { Bar, choice, field, make } from './bar.js';
import { addClipboard } from './desktop-clipboard.js';
import { addKeys } from './desktop-keys.js';
import { follow } from './session.js';

const AGAIN_MS = [300, 1000, 2000, 5000];
const LASTED_MS = 10000;
const SIZES = ['1024x768', '1280x720', '1600x900', '1920x1080', '2560x1440'];
const RATES = [5, 10, 15, 24, 30, 60];

// What noVNC does by itself only for the size of its own element.
class Screen extends RFB {
  askSize(width, height) {
    if (!this._supportsSetDesktopSize || this.viewOnly) return;
    RFB.messages.setDesktopSize(this._sock, width, height, this._screenID, this._screenFlags);
  }
}

class Desktop {
  constructor(session) {
    this.session = session;
    this.watching = session.mode === 'watch';
    this.settings = { size: session.access.size, quality: session.access.quality, rate: session.access.frame_rate };
    this.target = document.querySelector('#screen');
    this.cover = document.querySelector('#cover');
    this.bar = new Bar(document.querySelector('#bar'), session, () => this.screen?.focus());
    if (this.watching) this.bar.meter('What you may do').set('watching');
    else {
      addKeys(this.bar, this);
      this.clipboard = addClipboard(this.bar, this);
    }
    this.#addPicture();
    this.bar.standard();
  }

  // One connection after the other; a session that is over is noticed by session.js, which shows the box's word on it.
  async run() {
    for (let tries = 0; ; tries += 1) {
      const began = performance.now();
      await this.#connect();
      if (performance.now() - began > LASTED_MS) tries = 0;
      this.#show('Connecting again', 'The connection was lost. What runs goes on.');
      await new Promise((done) => setTimeout(done, AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)]));
    }
  }

  // One connection, until it ends.
  #connect() {
    return new Promise((done) => {
      const address = new URL('socket', location.href);
      address.protocol = address.protocol.replace('http', 'ws');
      const socket = new WebSocket(address);
      socket.binaryType = 'arraybuffer';
      socket.addEventListener('message', (event) => this.bar.bytes(event.data.byteLength));
      const screen = new Screen(this.target, socket, { shared: true });
      this.screen = screen;
      screen.background = '#000';
      screen.viewOnly = this.watching;
      screen.addEventListener('connect', () => {
        this.cover.hidden = true;
        this.#apply();
        screen.focus();
      });
      screen.addEventListener('clipboard', (event) => this.clipboard?.came(event.detail.text));
      screen.addEventListener('desktopname', (event) => (document.title = event.detail.name));
      screen.addEventListener('disconnect', done);
    });
  }

  #apply() {
    const { size, quality } = this.settings;
    const follows = size === 'window' && !this.watching;
    this.screen.scaleViewport = !follows;
    this.screen.resizeSession = follows;
    this.screen.qualityLevel = quality;
    if (!follows) {
      const [width, height] = String(size).split('x').map(Number);
      if (width && height) this.screen.askSize(width, height);
    }
  }

  #addPicture() {
    const panel = this.bar.panel({ name: 'screen', label: 'Picture' });
    if (!this.watching) {
      const sizes = [['window', 'As large as this window'], ...SIZES.map((size) => [size, size.replace('x', ' × ')])];
      if (!sizes.some(([size]) => size === this.settings.size)) sizes.push([this.settings.size, this.settings.size]);
      const size = field(panel, 'Size', choice(sizes, this.settings.size));
      size.addEventListener('change', () => this.#set({ size: size.value }));
    }
    const quality = field(panel, 'Quality (less needs less bandwidth)', document.createElement('input'));
    Object.assign(quality, { type: 'range', min: 0, max: 9, value: this.settings.quality });
    quality.addEventListener('change', () => this.#set({ quality: Number(quality.value) }));
    if (this.watching) return;
    const rates = [...new Set([...RATES, this.settings.rate])].sort((a, b) => a - b);
    const rate = field(panel, 'Most pictures a second', choice(rates.map((n) => [n, n]), this.settings.rate));
    rate.addEventListener('change', () => this.#askRate(Number(rate.value)));
  }

  #set(changed) {
    Object.assign(this.settings, changed);
    this.#apply();
  }

  async #askRate(rate) {
    try {
      const answer = await fetch('frame-rate', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ frame_rate: rate }),
      });
      if (!answer.ok) throw new Error((await answer.json()).message);
      this.settings.rate = rate;
    } catch (error) {
      this.bar.notice(`The rate stays as it is: ${error.message}`);
    }
  }

  #show(title, text) {
    this.cover.hidden = false;
    this.cover.replaceChildren();
    make('h1', '', this.cover).textContent = title;
    if (text) make('p', '', this.cover).textContent = text;
  }
}

let desktop = null;
await follow((session) => {
  if (desktop) {
    desktop.bar.update(session);
  } else {
    desktop = new Desktop(session);
    desktop.run();
  }
});
