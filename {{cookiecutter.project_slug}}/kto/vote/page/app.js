// The way in: a link, the consent, perhaps the practice, and then cards.

import { Refused, call } from "./api.js";
import { begin as beginCards } from "./card.js";
import { byId, rendered } from "./dom.js";
import { grow } from "./letters.js";
import * as menu from "./menu.js";
import { practise } from "./practice.js";
import { action, message, notice, show } from "./screen.js";
import * as storage from "./storage.js";
import { leaveBehind } from "./sync.js";
import * as voting from "./voting.js";
import { load, t } from "./words.js";

const PRACTICE = 3; // cards at a time
const RETRY = 2000; // milliseconds between attempts to reach the server

let page; // words.json

async function main() {
  grow(0);
  page = await retry(load);
  beginCards();
  keepOffline();
  if (page.practice_only) return consent(lead, null);
  const [link, open] = readLink();
  const person = storage.read("person");
  if (person && (!link || link === person.link || link === person.secret)) return start(person);
  if (!link) return message(t("no_link"));
  return consent((first) => join(link, open, first), join);
}

/**
 * Take the secret from the address: it leaves the address bar, the history and screenshots; a personal link stays
 * valid. Behind `~` a device's own link names the open link that the person came by (share.js).
 */
function readLink() {
  const found = /^#([\w-]+)(~[\w-]*)?/.exec(location.hash);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return found ? [found[1], found[2] === undefined ? found[1] : found[2].slice(1)] : ["", ""];
}

/** Show what people agree to; `go` is called with whether they want to practise first. */
function consent(go, canVote) {
  show("other", [rendered(page.consent, { className: "text" }, 2)], [
    action("practise_first", () => go(true)),
    canVote ? action("vote_now", () => go(false), true) : null,
  ]);
}

async function join(link, open, practiseFirst) {
  message(t("loading"));
  let answer;
  try {
    answer = await retry(() => call("session", { secret: link, consent: page.consent_version }));
  } catch (error) {
    const known = ["unknown", "revoked", "closed", "full"].includes(error.kind);
    return message(t(known ? "link_" + error.kind : error.kind === "withdrawn" ? "withdrawn" : "failed"));
  }
  let person = { link, secret: answer.secret, id: answer.person, share: answer.open ? open : "" };
  const before = storage.read("person");
  // Who has a link of their own and taps on the channel's, too, stays the same person.
  if (before && answer.open && await isValid(before.secret)) person = Object.assign(before, { link });
  else if (before && before.id !== person.id) leaveBehind(before);
  storage.write("person", person);
  notice(storage.lasting ? "" : t("storage_refused"));
  return start(person, practiseFirst);
}

async function isValid(secret) {
  try {
    await call("progress", {}, secret);
    return true;
  } catch (error) {
    return !(error instanceof Refused);
  }
}

/** Fetch cards, and show them, or the practice meanwhile. */
function start(person, practiseFirst) {
  menu.begin(page, person, practice);
  for (const id of ["open-menu", "bar"]) byId(id).hidden = false;
  voting.start(page, person);
  if (practiseFirst) return practice();
  return voting.next();
}

/** Show the next three examples, or after the last ones the first ones again; then cards. */
async function practice() {
  const from = (storage.read("practised") || 0) % page.examples.length;
  storage.write("practised", from + PRACTICE);
  await practise(page.examples.slice(from, from + PRACTICE));
  voting.next();
}

/** The lead looks at the page before there is a server: all examples, and nothing is sent. */
async function lead() {
  await practise(page.examples, true);
  message(t("practice_done"), action("practise_again", lead));
}

/** Call an async function until the server answers, with yes or no. */
async function retry(act) {
  for (;;) {
    try {
      const result = await act();
      notice("");
      return result;
    } catch (error) {
      if (error instanceof Refused) throw error;
      if (page) notice(t(error.kind || "unreachable"));
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.seconds || RETRY));
    }
  }
}

/** Let the browser keep the page, over https and on this machine. Elsewhere it works, but does not open offline. */
function keepOffline() {
  if (!navigator.serviceWorker) return;
  navigator.serviceWorker.register("worker.js").catch(() => {});
  // A worker that is here already may have kept an older version.
  if (navigator.serviceWorker.controller) navigator.serviceWorker.controller.postMessage("refresh");
}

main();
