// What an instance uses, drawn as it is asked for: nobody keeps it, the lines begin when somebody looks.
// A box is only asked while the charts are on the screen: many pages are open, few are looked at.

const EVERY_MS = 2500;
const KEPT = 60;
const LIMIT_MS = 8000;
const language = document.documentElement.lang;
const number = (value, digits) => new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1)) / 10)));
  return `${number(bytes / 1024 ** power, power ? 1 : 0)} ${units[power]}`;
}

// What two answers of the box say together: a value to draw, the top of the drawing if it is known, and words.
const kinds = {
  cpu: (last, now, took) => {
    const cores = (now.cpu_s - last.cpu_s) / took;
    return [cores, 0, `${number(100 * cores, 0)} %`];
  },
  memory: (last, now) => {
    const limit = now.memory_limit_bytes;
    return [now.memory_bytes, limit ?? 0, size(now.memory_bytes) + (limit ? ` / ${size(limit)}` : "")];
  },
  received: (last, now, took) => rate((now.received_bytes - last.received_bytes) / took),
  sent: (last, now, took) => rate((now.sent_bytes - last.sent_bytes) / took),
};
const rate = (bytes) => [bytes, 0, `${size(bytes)}/s`];

function draw(chart, values, top) {
  const highest = Math.max(top, ...values, 1e-9);
  const points = values.map((value, index) => {
    const x = 100 - (values.length - 1 - index) * (100 / (KEPT - 1));
    return `${x.toFixed(2)},${(29 - 28 * (value / highest)).toFixed(2)}`;
  });
  chart.querySelector(".line").setAttribute("points", points.join(" "));
  const [first, last] = [points[0].split(",")[0], points.at(-1).split(",")[0]];
  chart.querySelector(".area").setAttribute("points", `${first},30 ${points.join(" ")} ${last},30`);
}

const isRunning = () => document.querySelector("#live [data-running]") !== null;

function follow(card) {
  const seen = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
  let last;
  let busy = false;
  let seenByReader = false;

  const show = (now) => {
    const took = now.at - last.at;
    if (took <= 0 || now.cpu_s < last.cpu_s) return; // it began anew in between
    for (const [kind, told] of Object.entries(kinds)) {
      const chart = card.querySelector(`[data-chart="${kind}"]`);
      const [value, top, text] = told(last, now, took);
      seen[kind] = [...seen[kind], Math.max(0, value)].slice(-KEPT);
      draw(chart, seen[kind], top);
      chart.querySelector("[data-now]").textContent = text;
    }
  };

  const round = async () => {
    card.closest("[data-uses]").hidden &&= !isRunning();
    if (busy || document.hidden || !seenByReader || !isRunning()) return;
    busy = true;
    try {
      const answer = await fetch(card.dataset.use, {
        headers: { Accept: "application/json" },
        signal: AbortSignal.timeout(LIMIT_MS),
      });
      if (answer.ok) {
        const now = await answer.json();
        if (last) show(now);
        last = now;
      }
    } catch {
      // The master or the box is away for a moment: what is drawn stays, and the next round asks again.
    }
    busy = false;
  };
  new IntersectionObserver((entries) => {
    seenByReader = entries.at(-1).isIntersecting;
    round();
  }).observe(card);
  setInterval(round, EVERY_MS);
  round();
}

for (const card of document.querySelectorAll("[data-use]")) follow(card);
