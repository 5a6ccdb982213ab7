// Links that a person may take along: to a friend, or into another browser.

import { element } from "./dom.js";
import { action, heading, say, show } from "./screen.js";
import { t } from "./words.js";

/** Return the address of this page with what stands behind its `#`. */
function address(secret) {
  return location.origin + location.pathname + "#" + secret;
}

/** Pass the open link on: by the device's own menu if there is one, else by copying. `back` shows what was there. */
export async function share(secret, back) {
  const url = address(secret);
  if (!navigator.share) return offer("share", t("share_text") + " " + url, back);
  // People may close the menu without choosing.
  return navigator.share({ text: t("share_text"), url }).catch(() => {});
}

/**
 * Offer the link that opens this page as this person. What stands behind `~` is the open link they came by, which
 * they may pass on; this one they must not.
 */
export function goOn(person, back) {
  offer("continue", address(person.secret + "~" + (person.share || "")), back);
}

function offer(key, text, back) {
  const field = element("textarea", { readOnly: true, rows: 3, value: text, dir: "auto", "aria-label": t(key) });
  const copy = action("copy", async () => {
    if (!(await toClipboard(field))) return;
    copy.textContent = t("copied");
    say(t("copied"));
  });
  show("other", [
    heading(t(key)),
    key === "continue" ? element("p", { textContent: t("continue_text") }) : null,
    field,
  ], [copy, action("back", back, true)]);
}

async function toClipboard(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch (error) {
    // By plain http there is no clipboard; the text stays selected, so that it can be copied by hand.
    field.select();
    return document.execCommand("copy");
  }
}
