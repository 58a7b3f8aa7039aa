// Follows a deployment: server-sent events carry the changed part of the page; if they fail, it is asked for.

const live = document.getElementById("live");
const POLL_MS = 2000;
const FAILURES = 3;
const said = document.querySelector("[data-said]");

const FOCUSABLE = "a[href], button, summary";
const standing = (item) => `${item.tagName} ${item.textContent.trim()}`;

function show(html) {
  // A paragraph that the reader unfolded stays unfolded.
  const open = [...live.querySelectorAll("details")].map((item) => item.open);
  const known = live.querySelectorAll(".timeline li").length;
  // Whoever stands on a button with the keyboard stays there.
  const at = live.contains(document.activeElement) ? standing(document.activeElement) : null;
  live.innerHTML = html;
  live.querySelectorAll("details").forEach((item, index) => (item.open = open[index] ?? false));
  [...live.querySelectorAll(".timeline li")].slice(known).forEach((item) => item.classList.add("new"));
  if (at) [...live.querySelectorAll(FOCUSABLE)].find((item) => standing(item) === at)?.focus();
  // Screen readers are told the state, not the whole page again.
  const state = live.querySelector("[data-state]")?.dataset.state ?? "";
  if (said && said.textContent !== state) said.textContent = state;
}

function poll() {
  const timer = setInterval(async () => {
    try {
      const answer = await fetch(location.href, {
        headers: { "X-Fragment": "1" },
        signal: AbortSignal.timeout(8000),
      });
      if (answer.redirected) location.reload();
      if (!answer.ok) return;
      show(await answer.text());
      if (!live.querySelector("form[data-once]")) clearInterval(timer);
    } catch {
      // The master is away for a moment: ask again in the next round.
    }
  }, POLL_MS);
}

function follow(address) {
  let failures = 0;
  const source = new EventSource(address);
  source.addEventListener("change", (event) => {
    failures = 0;
    show(event.data);
  });
  source.addEventListener("over", () => source.close());
  source.addEventListener("error", () => {
    failures += 1;
    if (source.readyState === EventSource.CLOSED || failures >= FAILURES) {
      source.close();
      poll();
    }
  });
}

if (live?.dataset.events) follow(live.dataset.events);
