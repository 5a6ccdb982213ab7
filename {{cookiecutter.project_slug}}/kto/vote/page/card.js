// One card: a question, an answer, and what can be tapped about them.

import { button, byId, element, rendered } from "./dom.js";
import { heading, isSettled, show, showMore } from "./screen.js";
import { t } from "./words.js";

const KEYS = { 1: "good", 2: "bad", 3: "skip" };
const PICTURES = { good: "👍", bad: "👎", skip: "🤔" };

let act = () => {}; // takes good, bad or skip for the card that is shown

/** Return the picture of a vote. */
export function picture(vote) {
  return element("span", { className: "picture", textContent: PICTURES[vote], "aria-hidden": "true" });
}

/** Name the thumbs, and listen to them and to the keys. */
export function begin() {
  for (const id of Object.keys(PICTURES)) {
    byId(id).append(picture(id), element("span", { textContent: t("vote_" + id) }));
    byId(id).addEventListener("click", () => tap(id));
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || byId("thumbs").hidden) return;
    // The key's place, for some keyboards have other signs or digits there.
    const digit = /^(?:Digit|Numpad)([123])$/.exec(event.code);
    if (digit) tap(KEYS[digit[1]]);
    else if (event.key === "Backspace" && !byId("last").hidden) byId("undo").click();
    else return;
    event.preventDefault();
  });
}

function tap(vote) {
  if (isSettled()) act(vote);
}

/** Show a card with its thumbs on a screen of a kind; `title` is read out first, and `judge` takes the vote. */
export function showCard(kind, card, title, judge) {
  act = judge;
  show(kind, [question(card, title), reply(card)], null);
  foldQuestion();
}

/** Return the question of a card, under a heading that gets the focus. */
export function question(card, title) {
  return element("section", { className: "question" },
    heading(title),
    element("p", { id: "prompt", className: "written", dir: "auto", textContent: card.prompt }));
}

/** Return the answer of a card, with a switch to the text as the model wrote it. */
export function reply(card) {
  const shown = rendered(card.answer, { className: "answer" });
  const raw = element("pre", { className: "answer raw", dir: "auto", textContent: card.raw, hidden: true });
  const toggle = button(t("raw"), () => {
    raw.hidden = !raw.hidden;
    shown.hidden = !raw.hidden;
    toggle.setAttribute("aria-pressed", String(!raw.hidden));
    showMore();
  }, { className: "chip", "aria-pressed": "false" });
  return element("section", { className: "reply" },
    element("div", { className: "row" }, element("h2", { textContent: t("answer") }), toggle),
    shown, raw);
}

/** A long question leaves the answer no room on the first screen: it shows a few lines, and the rest on a tap. */
function foldQuestion() {
  const prompt = byId("prompt");
  prompt.classList.add("folded");
  if (prompt.scrollHeight <= prompt.clientHeight + 4) {
    prompt.classList.remove("folded");
    return;
  }
  const unfold = button(t("unfold"), () => {
    prompt.classList.remove("folded");
    prompt.tabIndex = -1;
    prompt.focus({ preventScroll: true });
    unfold.remove();
    showMore();
  }, { className: "chip" });
  prompt.after(unfold);
}
