// Votes on this device that the server has not acknowledged. One entry in the storage per vote: two tabs overwrite
// nothing, and a vote that is sent twice is one, because it has an id of its own.

import * as storage from "./storage.js";
import { call } from "./api.js";

export const FORMAT = 1;
const BATCH = 100; // lines per request; the server takes 200

/** Return 32 hexadecimal digits. `crypto.randomUUID` is absent where the page comes by plain http. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Outbox {
  /** @param {string} person Whose votes these are: a device may be handed on. */
  constructor(person) {
    this.start = "vote." + person + ".";
    this.sending = null;
  }

  /** Keep a line of the vote format before anything is sent. Return whether it outlives this page. */
  add(line) {
    // The time makes names that sort as the votes were given: an undone vote is sent after the vote.
    const order = String(Date.now()).padStart(15, "0") + "." + String(this.count()).padStart(4, "0");
    return storage.write(this.start + order + "." + line.id, line);
  }

  names() {
    return storage.names(this.start);
  }

  count() {
    return this.names().length;
  }

  /** Send everything. Return the server's last answer, null if nothing was to be sent. Raises what `call` raises. */
  send(secret) {
    if (!this.sending) {
      this.sending = this._send(secret).finally(() => {
        this.sending = null;
      });
    }
    return this.sending;
  }

  async _send(secret) {
    let answer = null;
    for (let names = this.names(); names.length; names = this.names()) {
      const batch = names.slice(0, BATCH);
      const lines = batch.map(storage.read);
      answer = await call("votes", { lines: lines.filter(Boolean) }, secret);
      batch.forEach(storage.remove);
    }
    return answer;
  }
}
