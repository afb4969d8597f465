// What the gate has refused, by reason.

import { ask } from "../api.js";
import { bar, h, heading, nothing, table } from "../dom.js";
import { count, percent, short, time } from "../format.js";

// What each reason of pinegate_rejected_total means, and what to look at.
const meanings = {
	unauthenticated: "No key, or one that is unknown, expired or disabled. Many of them are somebody who guesses, or a client with an old key.",
	forbidden: "The key is good, but not for this endpoint, address or model, or the model has no price under a budget.",
	not_found: "A path or model that the gate does not have. Look at the client's base URL, and at the models under Backends.",
	rate_limit: "A rate was used up for a moment; SDKs wait and try again. If there are many, raise the limit or ask for less.",
	slow_down: "Too many at once, a full queue, or an address that the throttle holds back.",
	quota: "A quota or budget is used up until its window ends. Raise it under Keys or Teams.",
	upstream: "The backends failed, or were too slow. Look under Backends.",
	unavailable: "The gate was stopping, or a store was away.",
	bad_request: "A body that is no good: not JSON, ambiguous, too large or too slow.",
};

export const rejections = {
	title: "Rejections",
	open(main) {
		const since = h("span", { class: "faint" });
		const list = h("div", {});
		main.append(heading("Rejections", since), list);
		return {
			every: () => 5,
			async load(signal) {
				const answer = await ask("GET", "rejections", { signal });
				since.replaceChildren("since this gate started, ", time(answer.since));
				const data = answer.data.filter((r) => r.count > 0).sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1));
				if (data.length === 0) {
					list.replaceChildren(nothing("Nothing was refused since this gate started.", "A request that is refused counts here by its reason, and is a line in the log."));
					return;
				}
				const all = data.reduce((sum, r) => sum + r.count, 0);
				list.replaceChildren(h("section", { class: "card wide", "aria-label": "Rejections" }, table(`Rejections by reason, ${short(all)} in all`, [
					{ title: "Reason", cell: (r) => h("strong", {}, r.reason.replaceAll("_", " ")) },
					{ title: "Scope", cell: (r) => r.scope },
					{ title: "Count", number: true, cell: (r) => count(r.count) },
					{ title: "Share", cell: (r) => [bar(r.count / all, `${percent(r.count, all)} of all`, false), h("span", { class: "share" }, percent(r.count, all))] },
					{ title: "What it means", cell: (r) => h("span", { class: "meaning" }, meanings[r.reason] ?? "") },
				], data, "rejections")));
			},
		};
	},
};
