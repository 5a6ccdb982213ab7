// Cards whose right vote is known, with the reason after each.

import { element } from "./dom.js";
import { number, t } from "./words.js";
import { question, reply, showCard } from "./card.js";
import { action, heading, show } from "./screen.js";

/** Show examples one after the other. Resolves when all are done, or when the person wants to go on to real cards. */
export function practise(examples) {
  return new Promise((resolve) => {
    const step = (index) => {
      const example = examples[index];
      const title = t("practice_heading", { number: number(index + 1), total: number(examples.length) });
      showCard("practice", example, title, (vote) => {
        const isEnd = index + 1 === examples.length;
        const said = t(vote === example.vote ? "practice_same" : "practice_other_" + example.vote);
        show(
          "practice",
          [
            element("section", { className: "verdict " + example.vote }, heading(said),
              element("p", { className: "written", dir: "auto", textContent: example.reason })),
            question(example, title),
            reply(example),
          ],
          isEnd ? [action("next", resolve)] : [action("next", () => step(index + 1)), action("vote_now", resolve, true)],
        );
      });
    };
    step(0);
  });
}
