// While the launch form is open: the shortest round trip to the fronts of a few boxes goes along with the form.
// A front that does not answer is left out; nobody waits for any of this.

const ROUNDS = 6;
const PAUSE_MS = 120;
const LIMIT_MS = 3000;
const LEAST_MS = 0.05; // clocks of browsers are coarse: 0 would be no round trip
const PING = { mode: "no-cors", cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" };

const form = document.querySelector("form[data-measure]");
const shortest = {};
const card = document.querySelector("[data-near]");
const list = document.querySelector("[data-near-list]");
const digits = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1 });

// What is measured is shown, the nearest first.
const tell = () => {
  const found = Object.entries(shortest).sort((one, other) => one[1] - other[1]);
  list.replaceChildren(
    ...found.map(([box, trip]) => {
      const item = document.createElement("li");
      const [name, time] = [document.createElement("span"), document.createElement("span")];
      name.textContent = box;
      time.textContent = `${digits.format(trip)} ms`;
      time.className = "quiet";
      item.append(name, time);
      return item;
    }),
  );
  card.hidden = false;
};

// What the browser notes itself leaves out connecting, and how long this page had other things to do.
const noted = (address) => {
  const entry = performance.getEntriesByName(address).at(-1);
  return entry?.requestStart && entry.responseStart ? entry.responseStart - entry.requestStart : Infinity;
};

const measure = async (box, front) => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const address = new URL(`/_openraas/ping?${round}`, front).href;
    const began = performance.now();
    try {
      await fetch(address, { ...PING, signal: AbortSignal.timeout(LIMIT_MS) });
    } catch {
      return; // unreachable from here: what was measured before, if anything, stands
    }
    const took = Math.min(performance.now() - began, noted(address));
    shortest[box] = Math.min(shortest[box] ?? Infinity, Math.max(took, LEAST_MS));
    form.elements.round_trips.value = JSON.stringify(shortest);
    tell();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
};

for (const [box, front] of Object.entries(JSON.parse(form.dataset.measure))) measure(box, front);
