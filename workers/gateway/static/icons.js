// The drawings on the bar's buttons: strokes in a square of 24.
const PATHS = {
  keyboard: 'M3 7h18v10H3zM6.5 10h.01M10 10h.01M13.5 10h.01M17 10h.01M8 14h8',
  clipboard: 'M9 5H6v15h12V5h-3M9 3h6v4H9z',
  screen: 'M3 5h18v11H3zM9 20h6M12 16v4',
  whole: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM3 20c0-4 2.5-6 6-6s6 2 6 6M16 4.5a3.5 3.5 0 0 1 0 6.5M18 14.5c2 .8 3 2.700 3 5.500',
  share: 'M18 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM6 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM18 22a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8.600 13.500l6.800 4M15.400 6.500l-6.800 4',
  stop: 'M7 7h10v10H7z',
  fold: 'M6 15l6-6 6 6',
  unfold: 'M6 9l6 6 6-6',
  terminal: 'M4 6l6 6-6 6M12 18h8',
  window: 'M3 5h18v14H3zM3 9h18',
};
const SVG = 'http://www.w3.org/2000/svg';

export function icon(name) {
  const drawing = document.createElementNS(SVG, 'svg');
  drawing.setAttribute('viewBox', '0 0 24 24');
  drawing.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name]);
  drawing.append(path);
  return drawing;
}
