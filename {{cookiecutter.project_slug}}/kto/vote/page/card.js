// One card: a question, an answer, and what can be tapped about them.

import { byId, element, rendered, show, button } from "./dom.js";
import { t } from "./words.js";

const TOO_SOON = 350; // milliseconds in which a tap on a new card is one on the card before
const KEYS = { 1: "good", 2: "bad", 3: "skip" };
const PICTURES = { good: "👍", bad: "👎", skip: "?" };

let act = null; // called with good, bad or skip
let seenAt = 0; // when the card was painted first; 0 before

/** Say which function takes the taps and keys, and which one takes an undo. */
export function begin(vote, undo) {
  act = vote;
  for (const id of Object.keys(PICTURES)) {
    const picture = element("span", { className: "picture", textContent: PICTURES[id], "aria-hidden": "true" });
    byId(id).append(picture, element("span", { textContent: t("vote_" + id) }));
    byId(id).addEventListener("click", () => tap(id));
  }
  byId("undo").textContent = t("undo");
  byId("undo").addEventListener("click", undo);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || byId("foot").hidden) return;
    if (/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (KEYS[event.key]) tap(KEYS[event.key]);
    else if (event.key === "Backspace" && !byId("undo").hidden) undo();
    else return;
    event.preventDefault();
  });
}

/** Return since how many milliseconds the card is to be seen. */
export function age() {
  return seenAt ? Math.round(performance.now() - seenAt) : 0;
}

function tap(vote) {
  if (seenAt && age() >= TOO_SOON) act(vote);
}

/** Show a card; `heading` is read out first. */
export function showCard(card, heading) {
  seenAt = 0;
  const answer = rendered(card.answer, { className: "answer" });
  const raw = element("pre", { className: "raw", dir: "auto", textContent: card.raw, hidden: true });
  const toggle = button(t("raw"), () => {
    raw.hidden = !raw.hidden;
    answer.hidden = !raw.hidden;
    toggle.setAttribute("aria-pressed", String(!raw.hidden));
  }, { className: "small", "aria-pressed": "false" });
  show(
    element("section", { className: "question" },
      element("h2", { textContent: heading, "data-focus": "" }),
      element("p", { className: "written", dir: "auto", textContent: card.prompt })),
    element("section", { className: "reply" },
      element("div", { className: "row" }, element("h2", { textContent: t("answer") }), toggle),
      answer, raw),
  );
  byId("foot").hidden = false;
  // The second frame begins when the first one is on the screen.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    seenAt = performance.now();
  }));
}

/** Show what was judged last, with undo and reasons; null for nothing. */
export function showLast(last, chips, choose) {
  byId("undo").hidden = !last;
  byId("judged").textContent = last ? PICTURES[last.vote] + " " + t("last_" + last.vote) : "";
  const row = byId("reasons");
  row.textContent = "";
  for (const name of last ? chips[last.vote] || [] : []) {
    const chip = button(t("reason_" + name), () => {
      choose(name);
      chip.setAttribute("aria-pressed", String(last.reasons.includes(name)));
    }, { className: "chip", "aria-pressed": String(last.reasons.includes(name)) });
    row.append(chip);
  }
}
