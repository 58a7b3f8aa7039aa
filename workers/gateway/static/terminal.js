// Terminals in tabs. Each tab is a shell on the box; a broken connection finds its shell again.

import { Terminal } from "./packages/xterm/lib/xterm.mjs";
import { FitAddon } from "./packages/xterm-addon-fit/lib/addon-fit.mjs";
import { ClipboardAddon } from "./packages/xterm-addon-clipboard/lib/addon-clipboard.mjs";
import { WebLinksAddon } from "./packages/xterm-addon-web-links/lib/addon-web-links.mjs";
import { describe, follow, portalPage, theme, watchEnd } from "./session.js";

const ACK_BYTES = 32 * 1024;
const PING_MS = 5000;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;
const THEMES = {
  light: {
    background: "#ffffff", foreground: "#1b1f24", cursor: "#1b1f24", selectionBackground: "#b6d0ff",
    black: "#1b1f24", red: "#b3261e", green: "#1a6b30", yellow: "#7a5200", blue: "#1f4fc0",
    magenta: "#8a2a9a", cyan: "#0b6670", white: "#57606a", brightBlack: "#57606a", brightRed: "#c4372e",
    brightGreen: "#237b3c", brightYellow: "#8a5d00", brightBlue: "#2f62d8", brightMagenta: "#9c3bad",
    brightCyan: "#117782", brightWhite: "#1b1f24",
  },
  dark: { background: "#14171c", foreground: "#e6e8eb", cursor: "#e6e8eb", selectionBackground: "#35507f" },
};
const KEYS = {
  Escape: "\x1b", Tab: "\t", ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C", ArrowLeft: "\x1b[D",
};

const find = (id) => document.getElementById(id);
const wanted = {
  get theme() { return localStorage.getItem("theme") ?? ""; },
  get letters() { return Number(localStorage.getItem("letters") ?? 14); },
  get reader() { return localStorage.getItem("reader") === "1"; },
};
const typed = new TextEncoder();
const windows = [];
let current = null;
let ctrl = false;
let number = 0;
let control = true;
let now = null;

class Window {
  constructor(shell) {
    this.shell = shell;
    this.retry = FIRST_RETRY_MS;
    this.over = false;
    this.pane = document.createElement("div");
    this.pane.className = "window";
    this.pane.id = `window-${(number += 1)}`;
    this.pane.setAttribute("role", "tabpanel");
    find("windows").append(this.pane);
    this.tab = makeTab(this, number);
    this.pane.setAttribute("aria-labelledby", this.tab.id);
    this.terminal = new Terminal({
      allowProposedApi: true, cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace", fontSize: wanted.letters,
      minimumContrastRatio: 4.5, screenReaderMode: wanted.reader, scrollback: 10000,
      theme: THEMES[theme(wanted.theme)],
    });
    this.fit = new FitAddon();
    this.terminal.loadAddon(this.fit);
    this.terminal.loadAddon(new ClipboardAddon(undefined, this));
    this.terminal.loadAddon(new WebLinksAddon());
    this.terminal.open(this.pane);
    this.terminal.textarea?.setAttribute("aria-label", `Terminal, window ${number}`);
    this.terminal.attachCustomKeyEventHandler((event) => this.shortcut(event));
    this.terminal.onData((text) => this.type(text));
    this.terminal.onBinary((text) => this.send(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
    this.terminal.onResize(() => this.tellSize());
    new ResizeObserver(() => this.resize()).observe(this.pane);
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const shell = this.shell ? `?shell=${encodeURIComponent(this.shell)}` : "";
    this.socket = new WebSocket(`${scheme}//${location.host}/_openraas/terminal/socket${shell}`);
    this.socket.binaryType = "arraybuffer";
    this.unshown = 0;
    this.socket.onmessage = (event) => {
      if (typeof event.data === "string") this.take(JSON.parse(event.data));
      else this.print(new Uint8Array(event.data));
    };
    this.socket.onclose = () => this.lost();
  }

  take(message) {
    if (message.type === "hello") {
      this.shell = message.shell;
      this.retry = FIRST_RETRY_MS;
      this.control = message.control;
      this.pane.toggleAttribute("data-watching", !message.control);
      this.terminal.options.disableStdin = !message.control;
      this.terminal.reset();
      if (message.control) { this.resize(); this.tellSize(); }
      else this.terminal.resize(message.columns, message.rows);
      tell("");
    } else if (message.type === "size" && (!this.control || this !== current)) {
      this.terminal.resize(message.columns, message.rows);
    } else if (message.type === "skipped") {
      this.terminal.reset();
    } else if (message.type === "pong" && this === current) {
      find("latency").textContent = `${Math.round(performance.now() - message.at)} ms`;
    } else if (message.type === "ended") {
      this.over = true;
      if (message.why || windows.length === 1) {
        this.terminal.write(`\r\n\x1b[7m ${message.why || "The shell has ended."} \x1b[0m\r\n`);
        if (windows.length === 1) tell("The shell has ended. Open a new window with +.");
      } else {
        this.remove();
      }
    }
  }

  print(bytes) {
    this.terminal.write(bytes, () => {
      this.unshown += bytes.length;
      if (this.unshown >= ACK_BYTES) {
        this.say({ type: "ack", bytes: this.unshown });
        this.unshown = 0;
      }
    });
  }

  lost() {
    if (this.over) return;
    if (!this.shell && !control) return;
    tell("The connection is broken. Trying again…");
    setTimeout(() => { if (!this.over) this.connect(); }, this.retry);
    this.retry = Math.min(this.retry * 2, LAST_RETRY_MS);
  }

  type(text) {
    if (ctrl && text.length === 1) {
      text = String.fromCharCode(text.toUpperCase().charCodeAt(0) & 31);
      hold(false);
    }
    this.send(typed.encode(text));
  }

  send(bytes) {
    if (this.control && this.socket.readyState === WebSocket.OPEN) this.socket.send(bytes);
  }

  say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  resize() {
    if (this === current && this.control !== false) this.fit.fit();
  }

  tellSize() {
    if (this.control && this === current) {
      this.say({ type: "size", columns: this.terminal.cols, rows: this.terminal.rows });
    }
  }

  // A program may put text into the clipboard of who controls it (OSC 52). What is there it never learns: whoever
  // else types into this shell could ask for it.
  readText() { return ""; }

  writeText(selection, text) {
    return this.control && selection === "c" ? navigator.clipboard.writeText(text) : undefined;
  }

  shortcut(event) {
    if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey) return true;
    if (event.code === "KeyC" && this.terminal.hasSelection()) {
      navigator.clipboard.writeText(this.terminal.getSelection());
      event.preventDefault();
      return false;
    }
    return event.code !== "KeyV"; // the browser pastes by itself
  }

  close() {
    this.over = true;
    this.say({ type: "end" });
    this.remove();
  }

  remove() {
    const place = windows.indexOf(this);
    windows.splice(place, 1);
    this.socket.close();
    this.terminal.dispose();
    this.pane.remove();
    this.tab.parentElement.remove();
    if (current === this && windows.length) show(windows[Math.max(0, place - 1)]);
    if (!windows.length) tell("No window is open. Open one with +.");
  }
}

function makeTab(window, count) {
  const item = document.createElement("div");
  item.className = "tab";
  item.setAttribute("role", "presentation");
  const tab = document.createElement("button");
  tab.type = "button";
  tab.id = `tab-${count}`;
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", window.pane.id);
  tab.textContent = `Shell ${count}`;
  tab.addEventListener("click", () => show(window));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = windows[(windows.indexOf(window) + step + windows.length) % windows.length];
    show(next, { focus: false });
    next.tab.focus();
  });
  const close = document.createElement("button");
  close.type = "button";
  close.className = "close";
  close.textContent = "×";
  close.setAttribute("aria-label", `Close shell ${count}`);
  close.title = "Close and end its shell";
  close.addEventListener("click", () => window.close());
  item.append(tab, close);
  document.querySelector(".tabs").append(item);
  return tab;
}

function show(window, { focus = true } = {}) {
  current = window;
  for (const other of windows) {
    const chosen = other === window;
    other.pane.hidden = !chosen;
    other.tab.setAttribute("aria-selected", String(chosen));
    other.tab.tabIndex = chosen ? 0 : -1;
  }
  window.resize();
  window.tellSize();
  if (focus) window.terminal.focus();
}

function open(shell) {
  const window = new Window(shell);
  windows.push(window);
  show(window);
}

function tell(text) {
  find("notice").textContent = text;
  find("notice").hidden = !text;
}

// Above all else, until the end was put off.
function warnOfEnd(minutes) {
  const text = `This session ends in ${minutes} min. `;
  const link = document.createElement("a");
  Object.assign(link, { href: portalPage(now)?.lease ?? "", target: "_blank", rel: "noopener" });
  link.textContent = "Keep it running longer";
  find("lease").replaceChildren(text, ...(portalPage(now) ? [link] : []));
  find("lease").hidden = minutes === null;
}

function hold(on) {
  ctrl = on;
  document.querySelector("[data-hold]").setAttribute("aria-pressed", String(on));
}

function dress() {
  const colours = THEMES[theme(wanted.theme)];
  for (const window of windows) {
    window.terminal.options.theme = colours;
    window.terminal.options.fontSize = wanted.letters;
    window.terminal.options.screenReaderMode = wanted.reader;
    window.resize();
  }
}

function setUp() {
  find("theme").value = wanted.theme;
  find("letters").value = String(wanted.letters);
  find("reader").checked = wanted.reader;
  find("theme").addEventListener("change", (event) => { localStorage.setItem("theme", event.target.value); dress(); });
  find("letters").addEventListener("change", (event) => { localStorage.setItem("letters", event.target.value); dress(); });
  find("reader").addEventListener("change", (event) => {
    localStorage.setItem("reader", event.target.checked ? "1" : "0");
    dress();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dress);
  find("new").addEventListener("click", () => open(null));
  find("keys").hidden = !(matchMedia("(pointer: coarse)").matches || innerWidth < 640);
  find("keys").addEventListener("pointerdown", (event) => event.preventDefault()); // the keyboard stays open
  find("keys").addEventListener("click", (event) => {
    const { key, text, hold: held } = event.target.dataset;
    if (held) hold(!ctrl);
    else if (key || text) current?.type(key ? KEYS[key] : text);
    current?.terminal.focus();
  });
  setInterval(() => current?.say({ type: "ping", at: performance.now() }), PING_MS);
}

function introduce(session) {
  now = session;
  control = session.mode === "control";
  find("new").hidden = !control;
  find("people").textContent = describe(session);
  document.title = `${control ? "" : "Watching: "}Terminal, ${session.instance}`;
  const portal = portalPage(session);
  for (const link of document.querySelectorAll("#portal a")) link.href = portal?.[link.dataset.to] ?? "";
  find("portal").hidden = !portal;
}

// A window that another person of the session opened, or closed, is seen by all.
async function start() {
  setUp();
  theme(wanted.theme);
  const answer = await fetch("/_openraas/session", { cache: "no-store" });
  if (!answer.ok) { location.reload(); return; }
  introduce(await answer.json());
  watchEnd(() => now, warnOfEnd);
  const { shells } = await (await fetch("shells", { cache: "no-store" })).json();
  if (shells.length) { shells.forEach(open); show(windows[0]); }
  else if (control) open(null);
  else tell("Nothing to watch yet: no window is open.");
  follow(introduce);
}

start();
