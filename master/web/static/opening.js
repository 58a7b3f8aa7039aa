// Goes on to the application as soon as it can be opened, for whoever pressed "Start and open".

const WANTED = "#open";
const live = document.getElementById("live");

function go() {
  const link = live.querySelector('a.primary[href$="/open"]');
  if (!link) return false;
  // Whoever comes back with the browser's button stays here.
  history.replaceState(null, "", location.pathname + location.search);
  location.assign(link.href);
  return true;
}

if (live && location.hash === WANTED && !go()) {
  const watcher = new MutationObserver(() => {
    if (go() || live.querySelector("[data-over]")) watcher.disconnect();
  });
  watcher.observe(live, { childList: true, subtree: true });
}
