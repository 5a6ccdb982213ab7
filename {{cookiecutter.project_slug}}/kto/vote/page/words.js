// The words of the page: one JSON file that the project writes in the community's language.

let words = {};
let digits = "0123456789";

export async function load() {
  const response = await fetch("words.json", { credentials: "omit" });
  const page = await response.json();
  words = page.words;
  digits = page.digits;
  return page;
}

/** Return a text with its `{placeholders}` filled in. */
export function t(key, values) {
  const text = words[key];
  return values ? text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all)) : text;
}

/** Return a whole number with the language's digits. */
export function number(value) {
  return String(value).replace(/\d/g, (digit) => digits[Number(digit)]);
}
