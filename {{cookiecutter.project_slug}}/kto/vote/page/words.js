// The words of the page: one JSON file that the project writes in the community's language.

let words = {};
let digits = "0123456789";

/** Load words.json and return it; its shape is described in kto/pages. */
export async function load() {
  const response = await fetch("words.json", { credentials: "omit", cache: "no-cache" });
  const page = await response.json();
  words = page.words;
  digits = Array.from(page.digits || digits);
  return page;
}

/** Return a text with its `{placeholders}` filled in; for a text that is missing, its key as words. */
export function t(key, values) {
  const text = words[key] || key.replace(/_/g, " ");
  return values ? text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all)) : text;
}

/** Return whether the language has a text; some are optional. */
export function has(key) {
  return Boolean(words[key]);
}

/** Return a whole number with the language's digits. */
export function number(value) {
  return String(value).replace(/\d/g, (digit) => digits[Number(digit)]);
}
