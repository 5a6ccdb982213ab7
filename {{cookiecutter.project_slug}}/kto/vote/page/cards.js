// The cards that wait on this device: fetched ahead, so that the next one is there at once, also without a network.

import * as storage from "./storage.js";
import { call } from "./api.js";

const AHEAD = 10; // cards to hold
const LOW = 6; // fetch more from here on

export class Cards {
  constructor(person) {
    this.name = "cards." + person;
    this.cards = storage.read(this.name) || [];
    this.exhausted = false; // the server has no more for this person
    this.fetching = null;
  }

  /** Return the card in front, undefined if none waits. */
  current() {
    return this.cards[0];
  }

  /** Take the card in front away. */
  shift() {
    const card = this.cards.shift();
    this._keep();
    return card;
  }

  /** Put a card back in front: its vote was undone. */
  unshift(card) {
    this.cards.unshift(card);
    this._keep();
  }

  /** Leave out cards by their record: they were judged on another device. */
  drop(records) {
    this.cards = this.cards.filter((card) => !records.includes(card.record));
    this._keep();
  }

  isLow() {
    return this.cards.length < LOW && !this.exhausted;
  }

  /**
   * Fetch cards until enough wait. `recent` names records that are judged but perhaps not sent yet.
   * Return the server's answer. Raises what `call` raises.
   */
  fetch(secret, recent) {
    if (!this.fetching) {
      this.fetching = this._fetch(secret, recent).finally(() => {
        this.fetching = null;
      });
    }
    return this.fetching;
  }

  async _fetch(secret, recent) {
    const have = this.cards.map((card) => card.record);
    const answer = await call("cards", { count: AHEAD - have.length, have: have.concat(recent) }, secret);
    const known = new Set(this.cards.map((card) => card.record).concat(recent));
    this.cards.push(...answer.cards.filter((card) => !known.has(card.record)));
    this.exhausted = answer.cards.length === 0;
    this._keep();
    return answer;
  }

  _keep() {
    storage.write(this.name, this.cards);
  }
}
