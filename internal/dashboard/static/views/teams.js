// The teams that were made at runtime.

import { ask } from "../api.js";
import { formDialog } from "../dialog.js";
import { h, heading, nodes, nothing, table } from "../dom.js";
import { time } from "../format.js";
import { noRuntimeKeys } from "./keys.js";
import { given, idField, teamFields, teamSpec } from "./spec.js";

const path = (id) => `teams/${encodeURIComponent(id)}`;

export const teams = {
	title: "Teams",
	open(main, { rerun, say, signal }) {
		const create = h("button", { class: "primary", hidden: true, onclick: () => make() }, "New team");
		const hint = h("div", {});
		const place = h("div", {});
		main.append(heading("Teams", create), hint, place);

		// Shows a form, and then what is.
		async function change(title, fields, how, said) {
			if (await formDialog(title, fields, how) !== undefined) say(said);
			rerun();
		}
		const make = () => change("New team", [idField(), ...teamFields({})], {
			action: "Create", send: (form) => ask("POST", "teams", { body: { id: form.get("id"), ...given(teamSpec(form)) }, signal }),
		}, "The team was made.");
		const edit = (team) => change(`Edit ${team.id}`, teamFields(team), {
			action: "Save", send: (form) => ask("PATCH", path(team.id), { body: teamSpec(form), version: team.version, signal }),
		}, `Team ${team.id} was changed.`);
		const remove = (team) => change(`Delete ${team.id}?`, [h("p", {}, "Its limits are gone with it. Keys that name it must be moved or deleted first.")], {
			action: "Delete", danger: true, send: () => ask("DELETE", path(team.id), { signal }),
		}, `Team ${team.id} was deleted.`);

		return {
			every: () => 0,
			async load(signal) {
				const [status, { data }] = await Promise.all([ask("GET", "status", { signal }), ask("GET", "teams", { signal })]);
				create.hidden = !status.runtime_keys;
				hint.replaceChildren(...nodes(!status.runtime_keys && noRuntimeKeys()));
				if (data.length === 0) {
					place.replaceChildren(nothing("No team was made at runtime.", "Teams of the configuration are under Limits, where they have any. A key may name a team that nobody has made: it has no limits then."));
					return;
				}
				place.replaceChildren(h("section", { class: "card wide", "aria-label": "Teams" }, table("Teams", [
					{ title: "Id", cell: (t) => t.id },
					{ title: "Limits", cell: (t) => (t.limits?.length > 0 ? h("ul", { class: "plain" }, t.limits.map((l) => h("li", {}, l))) : "none") },
					{ title: "Models", cell: (t) => t.models?.join(", ") ?? "all" },
					{ title: "Changed", cell: (t) => time(t.updated_at) },
					{ title: "Actions", cell: (t) => h("span", { class: "buttons" },
						h("a", { href: `#/limits?scope=team&id=${encodeURIComponent(t.id)}` }, "State"),
						h("button", { "aria-label": `Edit ${t.id}`, onclick: () => edit(t) }, "Edit"),
						h("button", { class: "danger", "aria-label": `Delete ${t.id}`, onclick: () => remove(t) }, "Delete")) },
				], data, "teams")));
			},
		};
	},
};
