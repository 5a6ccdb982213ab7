// The bar for the card judged last: what else can be said about it (aspects), undo, reasons, a comment. Its height is
// fixed, so that the card and the thumbs stand still.

import { button, byId, element } from "./dom.js";
import { picture } from "./card.js";
import { t } from "./words.js";

let drawn = ""; // what the reasons were made for
let onReason, onComment;

/** Say what is called when a button of the bar is tapped; a reason is called with its name. */
export function begin(undo, reason, comment) {
  onReason = reason;
  onComment = comment;
  byId("undo").addEventListener("click", undo);
}

/** Make a row for each aspect; `choose` is called with an aspect and what is said about it. */
export function offer(aspects, choose) {
  for (const name of Object.keys(aspects)) {
    const label = element("span", { textContent: t("aspect_" + name), "aria-hidden": "true" });
    const row = element("div", { className: "aspect", role: "group", "aria-label": t(`aspect_${name}_question`) }, label);
    for (const value of aspects[name]) {
      const chip = button(t(`aspect_${name}_${value}`), () => choose(name, value), { className: "chip" });
      chip.dataset.aspect = name;
      chip.dataset.value = value;
      row.append(chip);
    }
    byId("aspects").append(row);
  }
}

/** Show what was judged last, with the reasons to choose from; null for nothing. */
export function showLast(last, names) {
  byId("last").hidden = !last;
  byId("aspects").hidden = !last || last.vote === "skip";
  const made = last ? last.card.record + last.vote : "";
  // Made anew only for another vote, or the focus would be lost.
  if (made !== drawn) {
    drawn = made;
    byId("undo").textContent = byId("chips").textContent = "";
    if (last) fill(last.vote, names);
  }
  if (!last) return;
  for (const chip of byId("last").querySelectorAll(".chip")) {
    const { reason, aspect, value } = chip.dataset;
    const isSaid = aspect ? (last.aspects || {})[aspect] === value : reason ? last.reasons.includes(reason) : last.comment;
    chip.setAttribute("aria-pressed", String(Boolean(isSaid)));
  }
}

function fill(vote, names) {
  byId("undo").append(picture(vote), element("span", { textContent: t("undo") }));
  byId("chips").scrollLeft = 0;
  for (const row of byId("aspects").children) row.scrollLeft = 0;
  for (const name of names) {
    const chip = button(t("reason_" + name), () => onReason(name), { className: "chip" });
    chip.dataset.reason = name;
    byId("chips").append(chip);
  }
  byId("chips").append(button(t("add_comment"), onComment, { className: "chip" }));
}
