// Copies an invitation's link; without JavaScript one copies it from its field.

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = button.dataset.copied;
  });
}
for (const field of document.querySelectorAll("input.link")) {
  field.addEventListener("focus", () => field.select());
}
