// While somebody types, only what has all the words stays; without scripts the form asks for the same.

const form = document.querySelector("[data-catalogue]");
const field = form?.elements.q;

function filter() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const card of document.querySelectorAll("[data-words]")) {
    const text = card.dataset.words.toLowerCase();
    card.hidden = !words.every((word) => text.includes(word));
    left += card.hidden ? 0 : 1;
  }
  document.querySelector("[data-nothing]").hidden = left > 0;
}

if (field) {
  // What the page was asked for may already leave some out: those are with the server.
  if (!field.value) field.addEventListener("input", filter);
  document.addEventListener("keydown", (event) => {
    const busy = event.target.matches?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey;
    if (event.key !== "/" || busy) return;
    event.preventDefault();
    field.focus();
  });
}
