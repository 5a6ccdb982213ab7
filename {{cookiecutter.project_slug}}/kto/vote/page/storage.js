// What the device keeps. Where the browser refuses (private windows, storage full or switched off), the page's memory
// has to do.

const memory = new Map();
const PREFIX = "kto.";

/** Whether what is written outlives this page. */
export let lasting = works();

function works() {
  try {
    localStorage.setItem(PREFIX + "test", "1");
    localStorage.removeItem(PREFIX + "test");
    return true;
  } catch (error) {
    return false;
  }
}

/** Return what was stored under a name; undefined if nothing was, or nothing that can be read. */
export function read(name) {
  try {
    const text = memory.has(name) ? memory.get(name) : localStorage.getItem(PREFIX + name);
    return text ? JSON.parse(text) : undefined;
  } catch (error) {
    return undefined;
  }
}

/** Store a value that JSON can hold. */
export function write(name, value) {
  const text = JSON.stringify(value);
  try {
    localStorage.setItem(PREFIX + name, text);
    memory.delete(name);
  } catch (error) {
    lasting = false;
    memory.set(name, text);
  }
}

export function remove(name) {
  memory.delete(name);
  try {
    localStorage.removeItem(PREFIX + name);
  } catch (error) {
    lasting = false;
  }
}

/** Return the names that begin with `start`, in order. */
export function names(start) {
  const found = new Set(memory.keys());
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const key = localStorage.key(i);
      if (key.startsWith(PREFIX)) found.add(key.slice(PREFIX.length));
    }
  } catch (error) {
    lasting = false;
  }
  return Array.from(found).filter((name) => name.startsWith(start)).sort();
}

/** Call a function with the name of each entry that another tab has changed. */
export function onChange(act) {
  window.addEventListener("storage", (event) => {
    if (event.key && event.key.startsWith(PREFIX)) act(event.key.slice(PREFIX.length));
  });
}
