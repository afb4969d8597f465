// The keys: the list, and one of them with what can be done to it.

import { all, ask, usage } from "../api.js";
import { field, formDialog, secretDialog } from "../dialog.js";
import { badge, h, heading, nodes, nothing, table } from "../dom.js";
import { count, money, time } from "../format.js";
import { rangeQuery, summarise, tokens } from "../usage.js";
import { limitTable } from "./limits.js";
import { given, idField, keyFields, keySpec } from "./spec.js";

const shownAtFirst = 100;
const path = (id) => `keys/${encodeURIComponent(id)}`;
const page = (id) => `#/keys/${encodeURIComponent(id)}`;

/** How to get keys that can be made here. */
export const noRuntimeKeys = () => h("p", { class: "notice" },
	"This gate takes no keys at runtime. Write ", h("code", {}, "keys store"), " into the block ", h("code", {}, "pinegate"),
	" and reload Caddy: then keys and teams can be made and changed here. Those of the configuration are changed there.");

/** Whether keys can be made here, and the teams that there are. */
const surroundings = async (signal) => {
	const [status, teams] = await Promise.all([ask("GET", "status", { signal }), ask("GET", "teams", { signal })]);
	return { runtime: status.runtime_keys, teams: teams.data.map((t) => t.id) };
};

/** A key's expiry as a time: a date is a day in UTC that still counts. */
function expiry(text) {
	if (!text) return null;
	return /^\d{4}-\d\d-\d\d$/.test(text) ? new Date(Date.parse(text) + 86400e3) : new Date(text);
}

function state(key) {
	const ends = expiry(key.expires);
	if (key.revoked_at) return badge("revoked", "bad");
	if (key.disabled) return badge("disabled", "warn");
	if (ends && ends <= new Date()) return badge("expired", "bad");
	return badge("active", "good");
}

const expires = (key) => (key.expires ? (/^\d{4}-\d\d-\d\d$/.test(key.expires) ? `${key.expires} (UTC)` : time(key.expires)) : "never");
const source = (key) => (key.source === "config" ? "configuration" : "store");
const models = (key) => key.models?.join(", ") ?? "all";
const secrets = (key) => (key.secrets.length > 0 ? key.secrets.map((s) => h("code", {}, `…${s.last4} `)) : "–");

export const keys = {
	title: "Keys",
	open(main, context) {
		return context.id === null ? openList(main, context) : openKey(main, context, context.id);
	},
};

function openList(main, { rerun, say, signal }) {
	let found = [];
	let shown = shownAtFirst;
	let around = { runtime: false, teams: [] };
	const search = h("input", {
		type: "search", "aria-label": "Search keys", placeholder: "Search id or team", autocapitalize: "off", spellcheck: "false",
		oninput: () => { shown = shownAtFirst; list(); },
	});
	const create = h("button", { class: "primary", hidden: true, onclick: () => make() }, "New key");
	const hint = h("div", {});
	const place = h("div", {});
	main.append(heading("Keys", search, create), hint, place);

	async function make() {
		let made;
		await formDialog("New key", [idField(), ...keyFields({}, around.teams)], {
			action: "Create",
			send: async (form) => { made = await ask("POST", "keys", { body: { id: form.get("id"), ...given(keySpec(form)) }, signal }); },
		});
		if (!made) return;
		await secretDialog(`The secret of ${made.id}`, made.key);
		say(`Key ${made.id} was made.`);
		rerun();
	}

	function list() {
		const asked = search.value.trim().toLowerCase();
		const hits = found.filter((k) => k.id.toLowerCase().includes(asked) || (k.team ?? "").toLowerCase().includes(asked));
		if (hits.length === 0) {
			place.replaceChildren(found.length > 0 ? nothing("No key has this in its id or team.")
				: nothing("There is no key yet.", around.runtime ? 'Make the first one with "New key".' : null));
			return;
		}
		place.replaceChildren(h("section", { class: "card wide", "aria-label": "Keys" }, table("Keys", [
			{ title: "Id", cell: (k) => h("a", { href: page(k.id) }, k.id) },
			{ title: "State", cell: state },
			{ title: "Team", cell: (k) => k.team || "–" },
			{ title: "Limits", cell: (k) => (k.limits?.length > 0 ? h("ul", { class: "plain" }, k.limits.map((l) => h("li", {}, l))) : "the gate's own") },
			{ title: "Models", cell: models },
			{ title: "Expires", cell: expires },
			{ title: "Secrets", cell: secrets },
			{ title: "Source", cell: source },
		], hits.slice(0, shown), "keys")),
		...nodes(hits.length > shown && h("div", { class: "pager" },
			h("button", { onclick: () => { shown += shownAtFirst; list(); } }, `More of ${hits.length}`))));
	}

	return {
		every: () => 0,
		async load(signal) {
			[found, around] = await Promise.all([all("keys", {}, signal), surroundings(signal)]);
			create.hidden = !around.runtime;
			hint.replaceChildren(...nodes(!around.runtime && noRuntimeKeys()));
			list();
		},
	};
}

function openKey(main, { rerun, say, go, signal }, id) {
	const badgePlace = h("span", {});
	const actions = h("span", { class: "buttons" });
	const place = h("div", {});
	main.append(h("p", { class: "back" }, h("a", { href: "#/keys" }, "← Keys")), heading(id, badgePlace, actions), place);

	// Each action asks first, says what it did, and shows what is then: where it was
	// given up, maybe since somebody else was faster.
	const act = (said, run) => async () => {
		if (await run() !== undefined) say(said);
		rerun();
	};

	function buttons(key, around) {
		if (key.source === "config") return h("span", { class: "faint" }, "of the configuration: it is changed there");
		const remove = async () => {
			const done = await formDialog(`Delete ${id}?`, [h("p", {}, "Its secrets stop working at once, and its id can be used again. What it has used stays in the usage.")], {
				action: "Delete", danger: true, send: () => ask("DELETE", path(id), { signal }),
			});
			if (done !== undefined) {
				say(`Key ${id} was deleted.`);
				go("#/keys");
			}
		};
		const editing = [
			h("button", {
				onclick: act(`Key ${id} was changed.`, () => formDialog(`Edit ${id}`, keyFields(key, around.teams), {
					action: "Save", send: (form) => ask("PATCH", path(id), { body: keySpec(form), version: key.version, signal }),
				})),
			}, "Edit"),
			h("button", {
				onclick: act(`Key ${id} was ${key.disabled ? "enabled" : "disabled"}.`, async () =>
					(await attempt(() => ask("PATCH", path(id), { body: { disabled: key.disabled ? null : true }, version: key.version, signal })))),
			}, key.disabled ? "Enable" : "Disable"),
			h("button", { onclick: act(`Key ${id} has a new secret.`, rotate) }, "Rotate"),
			h("button", {
				class: "danger",
				onclick: act(`Key ${id} was revoked.`, () => formDialog(`Revoke ${id}?`, [h("p", {}, "All its secrets stop working at once, for good. Its usage keeps its name.")], {
					action: "Revoke", danger: true, send: () => ask("POST", `${path(id)}/revoke`, { signal }),
				})),
			}, "Revoke"),
		];
		return [...(key.revoked_at ? [] : editing), h("button", { class: "danger", onclick: remove }, "Delete")];
	}

	// Actions without a form show their problem where that of a form would be.
	const attempt = async (send) => {
		try {
			return await send();
		} catch (problem) {
			if (!signal.aborted) say(`${problem.message} ${problem.hint}`, true);
			return undefined;
		}
	};

	async function rotate() {
		let made;
		await formDialog(`Rotate ${id}`, [
			h("p", {}, "It gets a new secret. The old ones go on working for the time of grace."),
			field("grace", "Grace", { value: "24h", hint: "As in 30m, 24h or 7d; 0s: the old ones stop at once." }),
		], {
			action: "Rotate",
			send: async (form) => { made = await ask("POST", `${path(id)}/rotate`, { body: { grace: form.get("grace").trim() || "0s" }, signal }); },
		});
		if (!made) return undefined;
		await secretDialog(`The new secret of ${id}`, made.key);
		return made;
	}

	return {
		every: () => 10,
		async load(signal) {
			const [key, limits, spent, around] = await Promise.all([
				ask("GET", path(id), { signal }),
				ask("GET", "limits", { query: { scope: "key", id, limit: 1000 }, signal }),
				usage({ ...rangeQuery("30d"), keys: id, group_by: "model" }, signal),
				surroundings(signal),
			]);
			badgePlace.replaceChildren(state(key));
			// The buttons stay while nothing has changed, so that the focus does, too.
			const version = `${key.version} ${key.source} ${around.teams}`;
			if (actions.dataset.version !== version) {
				actions.dataset.version = version;
				actions.replaceChildren(...nodes(buttons(key, around)));
			}
			const sums = summarise(spent, "model", 0);
			place.replaceChildren(h("div", { class: "two" },
				facts(key),
				h("section", { class: "card", "aria-label": "Last 30 days" }, h("h2", {}, "Last 30 days"), spending(sums))),
			h("section", { class: "card wide", "aria-label": "Limits" }, h("h2", {}, "Limits"),
				limits.data.length > 0 ? limitTable(`Limits of ${id}`, limits.data, false) : h("p", { class: "hint" }, "None of its own; those of its team, of models and of backends hold all the same.")));
		},
	};
}

function facts(key) {
	const said = [
		["Team", key.team || "–"], ["Models", models(key)], ["Endpoints", key.endpoints?.join(", ") ?? "all"],
		["Addresses", key.allow_ip?.join(", ") ?? "any"], ["Expires", expires(key)],
		["Secrets", key.secrets.length > 0 ? h("ul", { class: "plain" }, key.secrets.map((s) =>
			h("li", {}, h("code", {}, `…${s.last4}`), " of ", time(s.created_at), s.expires_at && [", until ", time(s.expires_at)]))) : "–"],
		...Object.entries(key.metadata ?? {}),
		["Source", source(key)],
		...(key.source === "store" ? [["Made", time(key.created_at)], ["Changed", time(key.updated_at)]] : []),
		...(key.revoked_at ? [["Revoked", time(key.revoked_at)]] : []),
	];
	return h("section", { class: "card", "aria-label": "Details" }, h("h2", {}, "Details"),
		h("dl", {}, said.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function spending({ groups, total }) {
	if (groups.length === 0) return h("p", { class: "hint" }, "It has used nothing.");
	return table("Usage of the last 30 days by model", [
		{ title: "Model", cell: (g) => (g === total ? "Total" : g.name || "unknown") },
		{ title: "Requests", number: true, cell: (g) => count(g.requests) },
		{ title: "Tokens", number: true, cell: (g) => count(tokens(g)) },
		{ title: "Spend", number: true, cell: (g) => money(g.cost_usd) },
	], [...groups, total], "totals");
}
