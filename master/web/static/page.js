// What every page does: send a form once, close the menu, keep lists fresh.

for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) button.disabled = true;
  });
}
// A page that the browser brings back from its cache has its buttons again.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const button of document.querySelectorAll("form[data-once] button")) button.disabled = false;
});

const menu = document.querySelector("details.menu");
document.addEventListener("click", (event) => {
  if (menu?.open && !menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && menu?.open) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

const list = document.querySelector("[data-refresh]");
if (list) {
  const refresh = async () => {
    if (document.hidden || list.contains(document.activeElement)) return;
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(8000) });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-refresh]");
      if (fresh && fresh.innerHTML !== list.innerHTML) list.innerHTML = fresh.innerHTML;
    } catch {
      // The master is away for a moment: what is shown stays, and the next round asks again.
    }
  };
  setInterval(refresh, Number(list.dataset.refresh) * 1000);
}

// A message can be put away; without scripts it stays until the next page.
for (const toast of document.querySelectorAll(".toast")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button small";
  button.textContent = "×";
  button.setAttribute("aria-label", toast.parentElement.dataset.close);
  button.addEventListener("click", () => toast.remove());
  toast.append(button);
}
