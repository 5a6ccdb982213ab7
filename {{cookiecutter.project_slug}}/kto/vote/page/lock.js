// One tab at a time. Browsers have locks for this on https and on this machine; elsewhere an entry in the storage that
// expires has to do. If two tabs ever pass it, nothing breaks: the server knows each vote by its id.

import * as storage from "./storage.js";
import { newId } from "./ids.js";

const LEASE = 20000; // milliseconds; longer than a call may take
const LOOK = 100; // milliseconds between attempts to get the lease

const self_ = newId();
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Run an async function while no other tab runs one under the same name. Its argument prolongs the lease. */
export async function exclusive(name, act) {
  if (navigator.locks) return navigator.locks.request("kto." + name, () => act(() => {}));
  const entry = "lease." + name;
  const hold = () => storage.write(entry, { tab: self_, until: Date.now() + LEASE });
  const mine = () => (storage.read(entry) || {}).tab === self_;
  for (;;) {
    const held = storage.read(entry);
    // An end far ahead was written before somebody set the clock.
    if (!held || held.tab === self_ || held.until < Date.now() || held.until > Date.now() + LEASE) {
      hold();
      await wait(20); // another tab may have written at the same moment; the last one wins
      if (mine()) break;
    }
    await wait(LOOK);
  }
  try {
    return await act(hold);
  } finally {
    if (mine()) storage.remove(entry);
  }
}
