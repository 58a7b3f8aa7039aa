// Follows a simulation until it is over: the page is asked for again, and its changed part shown.

const EVERY_MS = 2000;
const ANSWER_MS = 8000;

async function look() {
  const part = document.getElementById("simulation");
  if (!("follow" in part.dataset)) return;
  try {
    const answer = document.hidden ? null : await fetch(location.href, { signal: AbortSignal.timeout(ANSWER_MS) });
    if (answer?.redirected || answer?.status === 404) location.reload();
    if (answer?.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("simulation");
      const over = !("follow" in fresh.dataset);
      // While somebody is about to press Stop, only the end is news.
      if (over || !part.contains(document.activeElement)) part.replaceWith(fresh);
    }
  } catch {
    // The master is away for a moment: what is shown stays, and the next round asks again.
  }
  setTimeout(look, EVERY_MS);
}

setTimeout(look, EVERY_MS);
