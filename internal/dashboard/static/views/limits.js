// The state of every limit and quota.

import { ask } from "../api.js";
import { badge, bar, h, heading, nothing, segments, table } from "../dom.js";
import { amount, percent, until } from "../format.js";

const scopes = [["", "All"], ["key", "Key"], ["team", "Team"], ["model", "Model"], ["backend", "Backend"]];
const perPage = 50;

/** What a limit can hold at once: a rate's burst, else the limit. */
const capacity = (l) => l.burst ?? l.limit;

/** How much of a limit is taken now, used and reserved, from 0 to 1. */
const taken = (l) => (capacity(l) > 0 ? Math.min(1, Math.max(0, 1 - l.remaining / capacity(l))) : 1);

/** A limit in words: 60 requests/minute burst 10. */
function words(l) {
	return [amount(l.limit, l.unit), l.unit !== "usd" && ` ${l.unit.replaceAll("_", " ")}`, l.window && `/${l.window}`,
		l.burst !== null && l.burst !== l.limit && h("span", { class: "faint" }, " burst ", amount(l.burst, l.unit))];
}

/** A table of limits as `GET limits` has them. */
export function limitTable(caption, limits, withOwner = true) {
	const owner = { title: "Owner", cell: (l) => [h("span", { class: "kind" }, l.scope), " ", l.id] };
	return table(caption, [
		...(withOwner ? [owner] : []),
		{ title: "Limit", cell: words },
		{ title: "In use", cell: (l) => [bar(taken(l), `${percent(taken(l), 1)} in use`), h("span", { class: "share" }, percent(taken(l), 1))] },
		{ title: "Used", number: true, cell: (l) => amount(l.used, l.unit) },
		{ title: "Reserved", number: true, cell: (l) => amount(l.reserved, l.unit) },
		{ title: "Remains", number: true, cell: (l) => amount(l.remaining, l.unit) },
		{ title: "Resets", number: true, cell: (l) => until(l.reset_at) },
	], limits, "limits");
}

export const limits = {
	title: "Limits",
	open(main, { params, remember, rerun }) {
		const chosen = { scope: params.get("scope") ?? "", id: params.get("id") ?? "" };
		let pages = [null]; // the cursors of the pages so far; the last one is shown
		let next = null;
		const filter = (name) => (value) => {
			chosen[name] = value;
			pages = [null];
			remember(chosen);
			rerun();
		};
		const turn = (change) => () => {
			change();
			rerun();
		};
		const id = h("input", {
			type: "search", "aria-label": "Id, exactly", placeholder: "Id, exactly", value: chosen.id, autocapitalize: "off", spellcheck: "false",
			onchange: () => filter("id")(id.value.trim()),
		});
		const back = h("button", { onclick: turn(() => pages.pop()) }, "Back");
		const forth = h("button", { onclick: turn(() => pages.push(next)) }, "More");
		const list = h("div", {});
		const pager = h("div", { class: "pager", hidden: true }, back, forth);
		main.append(
			heading("Limits and quotas", segments("Of", "scope", scopes, chosen.scope, filter("scope")), id),
			list, pager);

		return {
			every: () => 5,
			async load(signal) {
				const part = await ask("GET", "limits", { query: { ...chosen, after: pages.at(-1), limit: perPage }, signal });
				next = part.next;
				back.disabled = pages.length === 1;
				forth.disabled = !next;
				pager.hidden = back.disabled && forth.disabled;
				if (part.data.length === 0) {
					list.replaceChildren(chosen.scope || chosen.id
						? nothing("No limit is of this scope and id.", "An id is matched as a whole.")
						: nothing("Nothing is limited.", 'Write a limit into a key, team, model or backend, as in "limit 60 requests/minute", or give one to a key under Keys.'));
					return;
				}
				list.replaceChildren(...(part.stale ? [h("p", { class: "notice" }, badge("store away", "warn"), " These are this gate's own figures: the store that the gates share does not answer.")] : []),
					h("section", { class: "card wide", "aria-label": "Limits" }, limitTable("Limits and quotas", part.data)));
			},
		};
	},
};
