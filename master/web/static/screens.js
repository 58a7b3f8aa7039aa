// New pictures while somebody looks at the page; the page itself comes anew before its tickets expire.

const EVERY_MS = 5000;
const PAGE_MS = 240000;

function renew() {
  if (document.hidden) return;
  for (const image of document.querySelectorAll('img[data-picture]')) {
    const next = new Image();
    next.addEventListener('load', () => {
      image.src = next.src;
      image.classList.remove('away');
    });
    next.addEventListener('error', () => image.classList.add('away'));
    next.src = `${image.dataset.picture}&at=${Date.now()}`;
  }
}

setInterval(renew, EVERY_MS);
setTimeout(() => location.reload(), PAGE_MS);
