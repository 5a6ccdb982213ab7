// The size of the letters, which people choose and the device keeps.

import { showMore } from "./screen.js";
import * as storage from "./storage.js";

const SIZES = [90, 100, 115, 130, 150, 175, 200]; // percent

function current() {
  const kept = SIZES.indexOf(storage.read("letters"));
  return kept < 0 ? SIZES.indexOf(100) : kept;
}

export function canGrow(step) {
  return SIZES[current() + step] !== undefined;
}

/** Make letters larger (1) or smaller (-1) by a step, or as they were kept (0). */
export function grow(step) {
  if (!canGrow(step)) return;
  const size = SIZES[current() + step];
  storage.write("letters", size);
  document.documentElement.style.setProperty("--letters", String(size / 100));
  showMore();
}
