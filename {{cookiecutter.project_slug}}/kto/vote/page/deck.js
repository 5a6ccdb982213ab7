// The cards that wait on this device, and the one judged last: fetched ahead, so that the next one is there at once,
// also without a network, and kept in one entry of the storage, so that all tabs show the same.

import * as storage from "./storage.js";
import { call } from "./api.js";

const AHEAD = 10; // cards to hold
const LOW = 6; // fetch more from here on

export class Deck {
  constructor(person) {
    this.name = "deck." + person;
    this.exhausted = false; // the server has no more for this person now
    this.wait = 0; // seconds until it may have, if that is known
    this.read();
  }

  /** Read what another tab may have changed. */
  read() {
    const kept = storage.read(this.name) || {};
    this.cards = kept.cards || [];
    this.last = kept.last || null; // {card, vote, reasons, aspects, comment, line} of the card judged last
    this.mine = kept.mine || 0; // cards that this person has judged
    this.progress = kept.progress || null; // the community's, as the server said last
  }

  /** Change something, on top of what other tabs did. */
  change(act) {
    this.read();
    act(this);
    const { cards, last, mine, progress } = this;
    storage.write(this.name, { cards, last, mine, progress });
  }

  /** Leave nothing on the device. */
  remove() {
    storage.remove(this.name);
  }

  has(record) {
    return this.cards.some((card) => card.record === record);
  }

  /** Leave out cards that were judged on another device. */
  drop(records) {
    this.cards = this.cards.filter((card) => !records.includes(card.record));
    // Undo and reasons would change a vote that this device does not know.
    if (this.last && records.includes(this.last.card.record)) this.last = null;
  }

  isLow() {
    return this.cards.length < LOW && !this.exhausted;
  }

  /** Fetch cards until enough wait. Return what else the server says. Raises what `call` raises. */
  async fetch(secret) {
    const held = () => this.cards.map((card) => card.record);
    const asked = held();
    const judged = this.last ? [this.last.card.record] : [];
    const answer = await call("cards", { count: AHEAD - asked.length, have: asked.concat(judged) }, secret);
    this.exhausted = answer.cards.length === 0;
    this.wait = answer.wait || 0;
    this.change(() => {
      // What was judged here while the answer was on its way may be in neither list.
      const known = asked.concat(judged, held(), this.last ? [this.last.card.record] : []);
      this.cards.push(...answer.cards.filter((card) => !known.includes(card.record)));
      this.drop(answer.judged_elsewhere.filter((record) => asked.includes(record)));
    });
    return { progress: answer.progress, version: answer.version };
  }
}
