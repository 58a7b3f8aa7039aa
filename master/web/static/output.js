// Shows what an instance prints while its section is open: the last lines are asked for again and again.

const POLL_MS = 3000;
const LINES = 300;

// Gives whether the answer was what there is to say; otherwise the master or the box is away for a moment.
async function ask(section) {
  const lines = section.querySelector(".lines");
  let text;
  let answered = false;
  try {
    const answer = await fetch(`${section.dataset.output}&tail=${LINES}`, {
      headers: { Accept: "application/json, text/plain" },
      signal: AbortSignal.timeout(15000),
    });
    text = answer.ok ? (await answer.text()) || section.dataset.empty : (await answer.json()).message;
    answered = answer.status < 500;
  } catch {
    // What is shown stays, and the next round asks again.
  }
  if (text !== undefined && lines.textContent !== text) {
    // Whoever has scrolled up to read stays there.
    const atEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 4;
    lines.hidden = false;
    lines.textContent = text;
    if (atEnd) lines.scrollTop = lines.scrollHeight;
  }
  return answered;
}

const isOver = () => document.querySelector("#live [data-over]") !== null;

function watch(section) {
  let busy = false;
  let done = false;
  const round = async () => {
    if (busy || done || !section.open || document.hidden) return;
    busy = true;
    const last = isOver();
    done = (await ask(section)) && last;
    busy = false;
  };
  section.addEventListener("toggle", round);
  setInterval(round, POLL_MS);
  round();
}

for (const section of document.querySelectorAll("[data-output]")) watch(section);
