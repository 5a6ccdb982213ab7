/** Return 32 random hexadecimal digits. `crypto.randomUUID` is absent where the page comes by plain http. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
