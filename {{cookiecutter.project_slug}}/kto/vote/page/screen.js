// What fills the page: one screen at a time in its main part, and below it, in a place that never moves, what can be
// tapped. Above it a notice may stand.

import { button, byId, element } from "./dom.js";
import { t } from "./words.js";

const TOO_SOON = 350; // milliseconds in which a tap on a new screen is one on the screen before

let seenAt = 0; // when the screen was painted first; 0 before

/** Return since how many milliseconds the screen is to be seen. */
export function age() {
  return seenAt ? Math.round(performance.now() - seenAt) : 0;
}

/** Return whether a tap can be meant for what is on the screen. */
export function isSettled() {
  return seenAt > 0 && age() >= TOO_SOON;
}

/**
 * Show a screen of a kind: card, wait (for cards), practice, or other.
 * @param {Array} content Elements; the first heading gets the focus, for those who hear the page.
 * @param {Array} actions Buttons for the foot, the most wanted one first; null for the thumbs.
 */
export function show(kind, content, actions) {
  const main = byId("main");
  seenAt = 0;
  main.textContent = "";
  main.append(...content.filter(Boolean));
  main.scrollTop = 0;
  window.scrollTo(0, 0); // low windows scroll as a whole
  byId("foot").hidden = false;
  byId("thumbs").hidden = actions !== null;
  byId("actions").textContent = "";
  byId("actions").append(...(actions || []).filter(Boolean));
  document.body.dataset.screen = kind;
  const heading = main.querySelector("h2") || main;
  if (heading !== main) heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  showMore();
  // The second frame begins when the first one is on the screen.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    seenAt = performance.now();
    showMore();
  }));
}

/** Return a button for the foot or a list. A second tap of a double tap on the screen before does nothing. */
export function action(key, act, second) {
  return button(t(key), () => isSettled() && act(), { className: second ? "action second" : "action" });
}

export function heading(text) {
  return element("h2", { textContent: text });
}

/** Show one sentence, with whatever can be done about it. */
export function message(text, ...actions) {
  show("other", [element("h2", { className: "message", textContent: text })], actions);
}

/** Show a sentence above the screen until another one, or "", takes its place. */
export function notice(text) {
  if (byId("notice").textContent === text) return;
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
  if (text) say(text);
  showMore();
}

/** Let a screen reader say something: the page's only live region. */
export function say(text) {
  byId("live").textContent = text;
}

/** Let the lower edge fade out while there is more below it. */
export function showMore() {
  const main = byId("main");
  document.body.classList.toggle("more", main.scrollHeight - main.scrollTop - main.clientHeight > 8);
}

byId("main").addEventListener("scroll", showMore, { passive: true });
window.addEventListener("resize", showMore);
