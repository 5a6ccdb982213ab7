// Three cards whose right vote is known, with the reason after each.

import { byId, button, element, show } from "./dom.js";
import { number, t } from "./words.js";
import * as card from "./card.js";

/** Show the examples one after the other. Resolves when all are done, or when the person wants to vote. */
export function practise(examples, setVote) {
  return new Promise((resolve) => {
    let index = 0;
    const next = () => {
      if (index === examples.length) {
        resolve();
        return;
      }
      const example = examples[index];
      card.showCard(example, t("practice_heading", { number: number(index + 1), total: number(examples.length) }));
      setVote((vote) => {
        byId("foot").hidden = true;
        index += 1;
        const right = vote === example.vote;
        show(
          element("section", { className: "reason" },
            element("h2", { textContent: t(right ? "practice_same" : "practice_other_" + example.vote), "data-focus": "" }),
            element("p", { className: "written", dir: "auto", textContent: example.reason })),
          button(t(index === examples.length ? "start" : "next"), next, { className: "main" }),
          index === examples.length ? null : button(t("start"), resolve, { className: "small" }),
        );
      });
    };
    next();
  });
}
