// The bar for the card judged last: undo, reasons, a comment. Its height is fixed, so that the thumbs stand still.

import { button, byId, element } from "./dom.js";
import { picture } from "./card.js";
import { t } from "./words.js";

let drawn = ""; // what the bar was made for
let onReason, onComment;

/** Say what is called when a button of the bar is tapped; a reason is called with its name. */
export function begin(undo, reason, comment) {
  onReason = reason;
  onComment = comment;
  byId("undo").addEventListener("click", undo);
}

/** Show what was judged last, with the reasons to choose from; null for nothing. */
export function showLast(last, names) {
  byId("last").hidden = !last;
  const made = last ? last.card.record + last.vote : "";
  // Made anew only for another vote, or the focus would be lost.
  if (made !== drawn) {
    drawn = made;
    byId("undo").textContent = byId("chips").textContent = "";
    if (last) fill(last.vote, names);
  }
  for (const chip of byId("chips").children) {
    const name = chip.dataset.reason;
    chip.setAttribute("aria-pressed", String(name ? last.reasons.includes(name) : Boolean(last.comment)));
  }
}

function fill(vote, names) {
  byId("undo").append(picture(vote), element("span", { textContent: t("undo") }));
  byId("chips").scrollLeft = 0;
  for (const name of names) {
    const chip = button(t("reason_" + name), () => onReason(name), { className: "chip" });
    chip.dataset.reason = name;
    byId("chips").append(chip);
  }
  byId("chips").append(button(t("add_comment"), onComment, { className: "chip" }));
}
