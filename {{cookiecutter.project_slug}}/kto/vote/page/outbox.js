// Votes on this device that the server has not acknowledged. One entry in the storage per vote: two tabs overwrite
// nothing, and a vote that is sent twice is one, because it has an id of its own.

import * as storage from "./storage.js";
import { call } from "./api.js";

const LINES = 100; // per request; the server takes 200
const BYTES = 50000; // per request; the server takes 64 kB

export class Outbox {
  /** @param {string} person Whose votes these are: a device may be handed on. */
  constructor(person) {
    this.start = "vote." + person + ".";
  }

  /** Keep a line of the vote format (docs/votes.md) before anything is sent. */
  add(line) {
    // The names sort as the votes were given, also when somebody sets the clock back: an undone vote follows the vote.
    const names = this.names();
    const last = names.length ? Number(names[names.length - 1].slice(this.start.length).split(".")[0]) : 0;
    const order = Math.max(Date.now(), last + 1);
    storage.write(this.start + String(order).padStart(15, "0") + "." + line.id, line);
  }

  names() {
    return storage.names(this.start);
  }

  count() {
    return this.names().length;
  }

  clear() {
    this.names().forEach(storage.remove);
  }

  /** Send everything, and call `told` with each answer. `hold` is called between requests. Raises what `call` raises. */
  async send(secret, hold, told) {
    for (let names = this.names(); names.length; names = this.names()) {
      hold();
      const batch = this._batch(names);
      const lines = batch.map(storage.read).filter(Boolean);
      const answer = lines.length ? await call("votes", { lines }, secret) : {};
      batch.forEach(storage.remove);
      told(answer);
    }
  }

  _batch(names) {
    let bytes = 0;
    return names.slice(0, LINES).filter((name, index) => {
      bytes += 3 * JSON.stringify(storage.read(name) || "").length; // UTF-8 takes three bytes at most per unit
      return index === 0 || bytes < BYTES;
    });
  }
}
