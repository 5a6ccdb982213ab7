// The exchange with the server: votes go, cards and progress come, now or when there is a network again.

import { Refused, Unreachable, call } from "./api.js";
import { Deck } from "./deck.js";
import { exclusive } from "./lock.js";
import { Outbox } from "./outbox.js";
import * as storage from "./storage.js";

const RETRY = [2000, 5000, 15000, 30000]; // milliseconds between attempts to reach the server
const STARTING = 1500; // milliseconds between attempts while it starts
const LOOK_AGAIN = 120; // seconds until the server is asked for cards again when it had none
const LEFT = "left."; // names of entries with the secrets of people who left this device before all their votes were sent

export class Sync {
  /** `told` is called after each attempt with null, or with why it failed: Refused or Unreachable. */
  constructor(person, deck, outbox, told) {
    this.person = person;
    this.deck = deck;
    this.outbox = outbox;
    this.told = told;
    this.version = ""; // of the server
    this.failures = 0; // one after the other
    this.lineRefused = false; // the server did not take a line for what stands in it
    this._hasNews = false; // the server has told its version and the progress since somebody looked at the page
    this._running = null;
    this._again = false; // something came up meanwhile
    this._timer = 0;
    this._pausedUntil = 0; // the server wants to be left alone until then
    this._isOver = false; // this person has left
  }

  /** Send what waits and fetch cards. Resolves when that is done or has failed. */
  run() {
    if (this._isOver || performance.now() < this._pausedUntil) return Promise.resolve();
    this._again = true;
    if (!this._running) {
      this._running = this._run().finally(() => {
        this._running = null;
      });
    }
    return this._running;
  }

  /** Somebody looks at the page again: ask for cards, although the server had none, and for news. */
  lookAgain() {
    this.deck.exhausted = this._hasNews = false;
    return this.run();
  }

  stop() {
    clearTimeout(this._timer);
    this._isOver = true;
  }

  async _run() {
    clearTimeout(this._timer);
    let problem = null;
    try {
      while (this._again) {
        this._again = false;
        await exclusive("sync." + this.person.id, (hold) => this._exchange(hold));
      }
      this.failures = 0;
      if (this.deck.exhausted) this._timer = setTimeout(() => this.lookAgain(), 1000 * Math.max(5, this.deck.wait || LOOK_AGAIN));
    } catch (error) {
      problem = error;
      this._again = false;
      this.failures += 1;
      let pause = RETRY[Math.min(this.failures, RETRY.length) - 1];
      if (error instanceof Unreachable && error.kind === "starting") pause = STARTING;
      if (error instanceof Unreachable && error.kind === "too_many") {
        pause = 1000 * Math.min(error.seconds || 30, 3600);
        this._pausedUntil = performance.now() + pause;
      }
      this._timer = setTimeout(() => this.run(), pause);
    }
    if (this._isOver) clearTimeout(this._timer);
    else this.told(problem);
  }

  async _exchange(hold) {
    await this.outbox.send(this.person.secret, hold, (answer) => this._hear(answer));
    this.deck.read();
    hold();
    if (this.deck.isLow()) this._hear(await this.deck.fetch(this.person.secret));
    if (!this._hasNews) this._hear(await call("progress", {}, this.person.secret));
    for (const name of storage.names(LEFT)) {
      const outbox = new Outbox(name.slice(LEFT.length));
      const error = await outbox.send(storage.read(name), hold, () => {}).catch((reason) => reason);
      if (!outbox.count() || error instanceof Refused) storage.remove(name);
    }
  }

  _hear(answer) {
    if (this._isOver) return;
    if (answer.progress) this._hasNews = true;
    if (answer.version) this.version = answer.version;
    if (Object.values(answer.states || {}).includes("refused")) this.lineRefused = true;
    this.deck.change((deck) => {
      deck.drop(answer.judged_elsewhere || []);
      if (!answer.progress) return;
      deck.progress = answer.progress;
      if (!this.outbox.count()) deck.mine = answer.progress.mine;
    });
  }
}

/** Forget a person who leaves this device, but for what it takes to send the votes that wait. */
export function leaveBehind(person) {
  new Deck(person.id).remove();
  if (new Outbox(person.id).count()) storage.write(LEFT + person.id, person.secret);
}
