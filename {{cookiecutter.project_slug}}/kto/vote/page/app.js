// The voting page: who is here, what they see next, and what they have tapped.

import { Refused, Unreachable, call } from "./api.js";
import { Cards } from "./cards.js";
import * as card from "./card.js";
import { byId, button, element, rendered, show } from "./dom.js";
import { FORMAT, Outbox, newId } from "./outbox.js";
import { practise } from "./practice.js";
import * as storage from "./storage.js";
import { load, number, t } from "./words.js";

const RETRY = [2000, 5000, 15000, 30000]; // milliseconds between attempts to reach the server

let page; // words.json
let person; // {secret, id} of the person on this device
let cards, outbox;
let last = null; // what was judged last: {card, vote, reasons, line}
let progress = null; // what the server said last
let failures = 0;
let timer = 0;
let vote = () => {};

async function main() {
  page = await load();
  card.begin((choice) => vote(choice), undo);
  card.showLast(null);
  menu();
  // Only over https and on this machine; without it the page works, but does not open offline.
  if (navigator.serviceWorker) navigator.serviceWorker.register("worker.js").catch(() => {});
  const link = location.hash.slice(1);
  // The secret leaves the address bar, the history and screenshots; a personal link stays valid.
  if (link) history.replaceState(null, "", location.pathname + location.search);
  person = storage.read("person");
  if (person && (!link || link === person.link)) return start();
  if (!link) return message("no_link");
  return consent(link);
}

// --- the way in ---

function consent(link) {
  const join = async (practice) => {
    try {
      const answer = await call("session", { secret: link, consent: page.consent_version });
      person = { link, secret: answer.secret, id: answer.person };
      storage.write("person", person);
    } catch (error) {
      return error instanceof Refused ? message("refused_" + error.kind) : notice(t("unreachable"));
    }
    notice(storage.lasting ? "" : t("storage_refused"));
    if (practice) await practice_();
    return start();
  };
  show(
    rendered(page.consent, { className: "text", "data-focus": "" }),
    button(t("practise_first"), () => join(true), { className: "main" }),
    button(t("vote_now"), () => join(false), { className: "main second" }),
  );
}

async function practice_() {
  byId("last").hidden = true;
  await practise(page.examples, (act) => {
    vote = act;
  });
  byId("last").hidden = false;
  storage.write("practised", true);
}

function start() {
  cards = new Cards(person.id);
  outbox = new Outbox(person.id);
  vote = judge;
  byId("head").hidden = false;
  window.addEventListener("online", synchronise);
  document.addEventListener("visibilitychange", () => document.hidden || synchronise());
  next();
  return synchronise();
}

// --- voting ---

function judge(choice) {
  const now = cards.shift();
  last = { card: now, vote: choice, reasons: [], line: now.line || null };
  keep(choice, card.age());
  card.showLast(last, page.reasons, (name) => {
    last.reasons = last.reasons.includes(name) ? last.reasons.filter((other) => other !== name) : last.reasons.concat(name);
    keep(last.vote, null);
  });
  say(t("saved_" + choice));
  next();
}

function undo() {
  if (!last) return;
  keep(null, null);
  cards.unshift({ ...last.card, line: last.line });
  last = null;
  card.showLast(null);
  say(t("undone"));
  next();
}

/** Keep a line of the vote format (docs/votes.md) on the device; sending follows. */
function keep(choice, milliseconds) {
  const line = {
    v: FORMAT,
    id: newId(),
    record: last.card.record,
    vote: choice,
    reasons: choice ? last.reasons : [],
    replaces: last.line,
    ms: milliseconds,
  };
  if (!outbox.add(line)) notice(t("storage_refused"));
  last.line = line.id;
  synchronise();
}

function next() {
  const now = cards.current();
  drawProgress();
  if (now) {
    const done = progress ? progress.mine + waiting() + 1 : 1;
    card.showCard(now, t("question_number", { number: number(done) }));
  } else if (cards.exhausted) {
    byId("foot").hidden = true;
    show(
      element("h2", { textContent: t("all_done"), "data-focus": "" }),
      element("p", { textContent: t("all_done_text") }),
      navigator.share ? button(t("share"), () => navigator.share({ text: page.invitation }).catch(() => {}), { className: "main" }) : null,
    );
  } else {
    byId("foot").hidden = true;
    show(element("p", { textContent: t(failures ? "offline_empty" : "loading"), "data-focus": "" }));
  }
}

function waiting() {
  return outbox.names().filter((name) => (storage.read(name) || {}).ms !== null).length;
}

// --- the server ---

async function synchronise() {
  clearTimeout(timer);
  const empty = !cards.current();
  try {
    const sent = await outbox.send(person.secret);
    if (sent) {
      progress = sent.progress;
      cards.drop(sent.judged_elsewhere || []);
    }
    if (cards.isLow()) progress = (await cards.fetch(person.secret, last ? [last.card.record] : [])).progress;
    failures = 0;
    notice(storage.lasting ? "" : t("storage_refused"));
  } catch (error) {
    if (error instanceof Refused) {
      if (error.kind === "old_page") return reload();
      return message("refused_" + error.kind);
    }
    if (!(error instanceof Unreachable)) throw error;
    failures += 1;
    timer = setTimeout(synchronise, RETRY[Math.min(failures, RETRY.length) - 1]);
    const count = outbox.count();
    notice(count ? t("offline", { count: number(count) }) : t("unreachable"));
  }
  if (empty) next();
  else drawProgress();
  return undefined;
}

/** Load the page of a newer server, at most once; the votes wait in the storage. */
function reload() {
  if (!storage.lasting || storage.read("reloaded") === page.version) return notice(t("old_page"));
  storage.write("reloaded", page.version);
  location.reload();
  return undefined;
}

// --- the rest of the page ---

function menu() {
  const open = byId("open-menu");
  const list = byId("menu");
  open.textContent = t("menu");
  open.addEventListener("click", () => {
    list.hidden = !list.hidden;
    open.setAttribute("aria-expanded", String(!list.hidden));
    if (!list.hidden) list.firstChild.focus();
  });
  const close = (act) => () => {
    list.hidden = true;
    open.setAttribute("aria-expanded", "false");
    act();
  };
  list.append(
    button(t("guidelines"), close(() => page_(page.guidelines))),
    button(t("practise_again"), close(async () => {
      const foot = byId("foot");
      await practice_();
      vote = judge;
      foot.hidden = false;
      next();
    })),
    button(t("credits"), close(credits)),
    button(t("not_me"), close(notMe)),
    button(t("withdraw"), close(withdraw)),
  );
}

function page_(html) {
  byId("foot").hidden = true;
  show(rendered(html, { className: "text", "data-focus": "" }), button(t("back"), next, { className: "main" }));
}

function ask(question, yes, act) {
  byId("foot").hidden = true;
  show(
    element("p", { textContent: question, "data-focus": "" }),
    button(yes, act, { className: "main" }),
    button(t("back"), next, { className: "main second" }),
  );
}

function notMe() {
  ask(t("not_me_text"), t("not_me"), () => {
    storage.remove("person");
    message("no_link");
  });
}

function withdraw() {
  ask(t("withdraw_text"), t("withdraw"), async () => {
    try {
      await call("withdraw", {}, person.secret);
      outbox.names().forEach(storage.remove);
      storage.remove("person");
      message("withdrawn");
    } catch (error) {
      notice(t("unreachable"));
    }
  });
}

function credits() {
  const field = element("input", { maxLength: 80, autocomplete: "name", dir: "auto", "aria-label": t("credits") });
  byId("foot").hidden = true;
  show(
    element("p", { textContent: t("credits_text"), "data-focus": "" }),
    field,
    button(t("credits_save"), async () => {
      try {
        await call("credits", { name: field.value.trim() }, person.secret);
        next();
      } catch (error) {
        notice(t("unreachable"));
      }
    }, { className: "main" }),
    button(t("back"), next, { className: "main second" }),
  );
}

function message(key) {
  byId("foot").hidden = true;
  byId("head").hidden = true;
  show(element("p", { textContent: t(key), className: "message", "data-focus": "" }));
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function say(text) {
  byId("live").textContent = text;
}

function drawProgress() {
  if (!progress) return;
  const mine = progress.mine + waiting();
  byId("mine").textContent = t("mine", { count: number(mine) });
  byId("bar").value = progress.all_goal ? Math.min(1, progress.all / progress.all_goal) : 0;
  byId("all").textContent = t("all", { percent: number(Math.floor(100 * byId("bar").value)) });
}

main().catch(() => notice(byId("title").textContent));
