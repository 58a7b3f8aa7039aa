// New pictures while somebody looks at the page. Before their tickets expire the page comes anew; where screens are but
// a part of it (data-screens), that part.

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
const part = document.querySelector('[data-screens]');

async function renewPart() {
  const answer = await fetch(location.href, { cache: 'no-store' });
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  part.replaceChildren(...(page.querySelector('[data-screens]')?.children ?? []));
}

if (part) setInterval(() => renewPart().catch(() => undefined), PAGE_MS);
else setTimeout(() => location.reload(), PAGE_MS);
