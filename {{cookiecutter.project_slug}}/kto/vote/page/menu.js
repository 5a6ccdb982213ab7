// The menu: help, letters, and what a person may want done with their votes.

import { Refused, call } from "./api.js";
import { button, byId, element, rendered } from "./dom.js";
import { canGrow, grow } from "./letters.js";
import { action, heading, notice, show } from "./screen.js";
import { goOn } from "./share.js";
import { t } from "./words.js";
import * as voting from "./voting.js";

let page; // words.json
let person;
let practise; // shows the practice, then cards

/** Fill the menu's button. */
export function begin(words, who, again) {
  page = words;
  person = who;
  practise = again;
  byId("open-menu").textContent = t("menu");
  byId("open-menu").addEventListener("click", () => (isOpen() ? voting.next() : open()));
}

function isOpen() {
  return byId("main").querySelector("#menu");
}

function open() {
  show("other", [
    heading(t("menu")),
    element("div", { id: "menu", className: "list" },
      action("guidelines", guidelines),
      action("practise_again", practise),
      letters(),
      action("continue", () => goOn(person, voting.next)),
      action("credits", credits),
      action("not_me", notMe),
      action("withdraw", withdraw)),
  ], [back()]);
}

function back() {
  return action("back", voting.next, true);
}

function letters() {
  const steps = { smaller: -1, larger: 1 };
  const pair = element("div", { className: "pair" });
  const draw = () => {
    for (const made of pair.children) made.setAttribute("aria-disabled", String(!canGrow(steps[made.dataset.step])));
  };
  for (const key of Object.keys(steps)) {
    const made = button(t(key), () => {
      grow(steps[key]);
      draw();
    }, { className: "action " + key });
    made.dataset.step = key;
    pair.append(made);
  }
  draw();
  return pair;
}

function guidelines() {
  show("other", [
    heading(t("guidelines")),
    rendered(page.guidelines, { className: "text" }),
    rendered(page.consent, { className: "text" }),
  ], [back()]);
}

function ask(text, yes, act) {
  show("other", [element("h2", { className: "message", textContent: text })], [action(yes, act, true), back()]);
}

function notMe() {
  ask(t("not_me_text"), "not_me", voting.notMe);
}

function withdraw() {
  ask(t("withdraw_text"), "withdraw_yes", () => attempt("withdraw", {}, voting.withdrawn));
}

async function credits() {
  const answer = await attempt("progress", {});
  if (!answer) return;
  const field = element("input", { id: "name", maxLength: 80, autocomplete: "name", dir: "auto", value: answer.credit || "" });
  const save = (name) => attempt("credits", { name }, voting.next);
  show("other", [
    heading(t("credits")),
    element("p", { textContent: t("credits_text") }),
    element("label", { htmlFor: "name", textContent: t("credits_name") }),
    field,
    element("div", { className: "list" },
      action("save", () => save(field.value.trim())),
      answer.credit ? action("credits_remove", () => save(""), true) : null,
      action("back", voting.next, true)),
  ], []);
}

/** Call the server at once, for nothing of this is kept for later. Return its answer; null if there is none. */
async function attempt(name, body, then) {
  try {
    const answer = await call(name, body, person.secret);
    notice("");
    if (then) then();
    return answer;
  } catch (error) {
    notice(t(error instanceof Refused ? "failed" : error.kind || "unreachable"));
    return null;
  }
}
