// What the device keeps. Where the browser refuses (private windows, storage full or switched off), the page's memory
// has to do, and `lasting` is false.

const memory = new Map();
const PREFIX = "kto.";

function works() {
  try {
    localStorage.setItem(PREFIX + "test", "1");
    localStorage.removeItem(PREFIX + "test");
    return true;
  } catch (error) {
    return false;
  }
}

export const lasting = works();

/** Return what was stored under a name; undefined if nothing was, or nothing that can be read. */
export function read(name) {
  try {
    const text = memory.has(name) ? memory.get(name) : lasting ? localStorage.getItem(PREFIX + name) : null;
    return text === null || text === undefined ? undefined : JSON.parse(text);
  } catch (error) {
    return undefined;
  }
}

/** Store a value that JSON can hold. Return whether it outlives this page. */
export function write(name, value) {
  const text = JSON.stringify(value);
  try {
    if (lasting) {
      localStorage.setItem(PREFIX + name, text);
      memory.delete(name);
      return true;
    }
  } catch (error) {
    // The storage is full: keep it here at least.
  }
  memory.set(name, text);
  return false;
}

export function remove(name) {
  memory.delete(name);
  if (lasting) localStorage.removeItem(PREFIX + name);
}

/** Return the names that begin with `start`, in order. */
export function names(start) {
  const found = new Set(memory.keys());
  for (let i = 0; lasting && i < localStorage.length; i++) {
    const key = localStorage.key(i);
    if (key.startsWith(PREFIX)) found.add(key.slice(PREFIX.length));
  }
  return Array.from(found).filter((name) => name.startsWith(start)).sort();
}
