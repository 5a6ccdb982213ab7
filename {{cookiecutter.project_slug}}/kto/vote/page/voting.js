// Voting: a tap counts at once and is kept on the device; the server hears of it when it can.

import { Refused, Unreachable } from "./api.js";
import * as card from "./card.js";
import { Deck } from "./deck.js";
import { button, byId, element } from "./dom.js";
import { newId } from "./ids.js";
import * as bar from "./last.js";
import { Outbox } from "./outbox.js";
import { action, age, heading, message, notice, say, show } from "./screen.js";
import { share } from "./share.js";
import * as storage from "./storage.js";
import { Sync, leaveBehind } from "./sync.js";
import { has, number, t } from "./words.js";

const FORMAT = 1; // of a line (docs/votes.md)
const COMMENT_MAX = 2000; // characters

let page; // words.json
let person; // {id, secret, link, share}
let deck, outbox, sync;
let shown = null; // the card on the screen
let waitingFor = ""; // what the screen says that stands where no card is
let problem = null; // why the last exchange with the server failed

/** Begin to vote: cards are fetched, and votes that an earlier page kept are sent. `next` shows the first card. */
export function start(words, who) {
  page = words;
  person = who;
  deck = new Deck(person.id);
  outbox = new Outbox(person.id);
  sync = new Sync(person, deck, outbox, told);
  bar.begin(undo, toggle, comment);
  bar.offer(page.aspects || {}, choose);
  storage.onChange(changedElsewhere);
  window.addEventListener("online", () => sync.run());
  document.addEventListener("visibilitychange", () => document.hidden || sync.lookAgain());
  sync.run();
}

function changedElsewhere(name) {
  if (name === "person" && (storage.read("person") || {}).id !== person.id) location.reload();
  if (name !== deck.name) return;
  deck.read();
  refresh();
}

// --- votes ---

function judge(vote) {
  const last = { card: shown, vote, reasons: [], aspects: {}, comment: "", line: shown.line || null };
  deck.read();
  if (deck.has(last.card.record)) {
    keep(last, age());
    deck.change(() => {
      deck.drop([last.card.record]);
      deck.last = last;
      deck.mine += 1;
    });
    if (!problem) notice(standing());
    say(t("saved_" + vote));
  }
  next();
  sync.run();
}

/** Take the last vote back: its card comes again. */
function undo() {
  const last = deck.last;
  if (!last) return;
  const undone = Object.assign({}, last, { vote: null, reasons: [], aspects: {}, comment: "" });
  keep(undone, null);
  deck.change(() => {
    deck.last = null;
    deck.mine -= 1;
    deck.cards.unshift(Object.assign({}, last.card, { line: undone.line }));
  });
  next();
  say(t("undone"));
  sync.run();
}

/** Keep the last vote anew, with other reasons, aspects or another comment. */
function revise(changed) {
  const last = Object.assign({}, deck.last, changed);
  keep(last, null);
  deck.change(() => {
    deck.last = last;
  });
  say(t("saved_" + last.vote));
  drawLast();
  sync.run();
}

function toggle(reason) {
  const chosen = deck.last.reasons;
  revise({ reasons: chosen.includes(reason) ? chosen.filter((other) => other !== reason) : chosen.concat(reason) });
}

/** Say something about an aspect, or take it back. */
function choose(aspect, value) {
  const said = Object.assign({}, deck.last.aspects);
  if (said[aspect] === value) delete said[aspect];
  else said[aspect] = value;
  revise({ aspects: said });
}

/** Write a line of the vote format into the outbox, before anything is sent. */
function keep(last, milliseconds) {
  const line = {
    v: FORMAT,
    id: newId(),
    record: last.card.record,
    vote: last.vote,
    reasons: last.reasons,
    replaces: last.line,
    ms: milliseconds,
  };
  if (last.comment) line.comment = last.comment;
  if (Object.keys(last.aspects || {}).length) line.aspects = last.aspects;
  outbox.add(line);
  last.line = line.id;
}

function comment() {
  const last = deck.last;
  const field = element("textarea", {
    id: "comment", rows: 4, maxLength: COMMENT_MAX, dir: "auto", value: last.comment, "aria-label": t("add_comment"),
  });
  const save = () => {
    // Another tab may have gone on meanwhile.
    if (deck.last && deck.last.card.record === last.card.record) revise({ comment: field.value.trim() });
    next();
  };
  show("other", [
    heading(t("add_comment")),
    has("comment_help") ? element("p", { textContent: t("comment_help") }) : null,
    field,
    element("div", { className: "list" }, button(t("save"), save, { className: "action" }), action("back", next, true)),
    card.question(last.card, t("question")),
    card.reply(last.card),
  ], []);
  field.focus();
}

// --- screens ---

/** Show what comes next: a card, or that there is none. */
export function next() {
  if (mayRenew()) return;
  shown = deck.cards[0] || null;
  drawProgress();
  drawLast();
  if (shown) card.showCard("card", shown, t("question_number", { number: number(deck.mine + 1) }), judge);
  else wait(missing());
}

function missing() {
  if (deck.exhausted) return "all_done";
  return isOffline() ? "offline_empty" : "loading";
}

function wait(key) {
  waitingFor = key;
  const done = key === "all_done";
  show("wait", [
    element("h2", { className: "message", textContent: t(key) }),
    done ? element("p", { className: "message", textContent: t("all_done_text") }) : null,
  ], done && person.share ? [action("share", () => share(person.share, next))] : []);
}

/** Bring what is shown up to date, where cards are shown and not another screen. */
function refresh() {
  drawProgress();
  const kind = document.body.dataset.screen;
  const now = deck.cards[0];
  const isStale = kind === "card" ? !now || now.record !== shown.record : kind === "wait" && (now || waitingFor !== missing());
  if (isStale) next();
  else if (kind === "card" || kind === "wait") drawLast();
}

function drawLast() {
  bar.showLast(deck.last, deck.last ? page.reasons[deck.last.vote] || [] : []);
}

function drawProgress() {
  byId("mine").textContent = t("mine", { count: number(deck.mine) });
  if (!deck.progress || !deck.progress.all_goal) return;
  const part = Math.min(1, deck.progress.all / deck.progress.all_goal);
  byId("bar").value = part;
  byId("all").textContent = t("all", { percent: number(Math.floor(100 * part)) });
}

// --- the server ---

function isOffline() {
  return problem instanceof Unreachable && problem.kind === "";
}

/** Return what the notice says when nothing else is to be said. */
function standing() {
  if (isOutdated()) return t("old_page");
  return storage.lasting ? "" : t("storage_refused");
}

/** Hear how the last exchange with the server went. */
function told(error) {
  const wasOffline = isOffline();
  problem = error;
  if (error instanceof Refused) refused(error.kind);
  else if (error instanceof Unreachable) notice(unreachable(error.kind));
  else if (error) throw error;
  else if (sync.lineRefused) notice(t("failed"));
  else if (wasOffline) notice(t("online"));
  else notice(standing());
  sync.lineRefused = false;
  const kind = document.body.dataset.screen;
  if ((kind === "card" || kind === "wait") && !mayRenew()) refresh();
}

function unreachable(kind) {
  if (kind) return t(kind);
  const count = outbox.count();
  if (!storage.lasting) return t("storage_refused");
  return count ? t("offline", { count: number(count) }) : t("unreachable");
}

/** The server takes nothing from this device any more, or nothing of this page. */
function refused(kind) {
  if (kind === "old_page") return renew("409 " + page.version);
  if (kind === "withdrawn") return forget("withdrawn");
  if (!["unknown", "revoked", "closed", "full"].includes(kind)) return notice(t("failed"));
  sync.stop();
  // A new link leads here again, and then the votes that are kept are sent.
  if (kind === "unknown") storage.remove("person");
  return farewell("link_" + kind);
}

function isOutdated() {
  return Boolean(sync.version) && sync.version !== page.version;
}

/** Load a newer server's page once nothing waits. Return whether that happens. */
function mayRenew() {
  return isOutdated() && !outbox.count() && renew(sync.version);
}

/** Load the page anew, at most once per version: a network may go on giving out the old one. */
function renew(version) {
  const tried = storage.read("reloaded") || [];
  if (!tried.includes(version)) storage.write("reloaded", tried.concat(version));
  const goes = storage.lasting && !tried.includes(version);
  if (goes) location.reload();
  else notice(t("old_page"));
  return goes;
}

// --- to leave ---

function farewell(key) {
  byId("open-menu").hidden = true;
  bar.showLast(null);
  message(t(key));
}

function forget(key) {
  sync.stop();
  outbox.clear();
  deck.remove();
  storage.remove("person");
  farewell(key);
}

/** This device is somebody else's from now on; the votes that are kept on it are still sent. */
export async function notMe() {
  if (!storage.lasting) await sync.run();
  sync.stop();
  leaveBehind(person);
  storage.remove("person");
  farewell("no_link");
}

/** All votes of this person were taken back. */
export function withdrawn() {
  forget("withdrawn");
}
