// The backends: whether they answer, how fast, and what cools down.

import { ask } from "../api.js";
import { badge, bar, h, heading, nothing, table } from "../dom.js";
import { count, duration, percent, time, until } from "../format.js";

const reasons = { rate_limited: "limited by the provider", failed: "failed in a row" };

/** How many of how many, with a bar where there is a bound. */
function load(n, most, what) {
	if (most === null) return count(n);
	return [bar(most > 0 ? n / most : 0, `${n} of ${most} ${what}`), h("span", { class: "share" }, `${n} of ${most}`)];
}

function cooling(backend) {
	const list = backend.cooldowns.map((c) =>
		h("li", {}, c.model === null ? "all models" : c.model, c.key !== null && ` for ${c.key}`, ", ", reasons[c.reason] ?? c.reason, ", again ", until(c.until)));
	const { total, cooling: refused } = backend.credentials;
	if (refused > 0) list.push(h("li", {}, `${refused} of ${total} credentials`));
	return list.length > 0 ? h("ul", { class: "plain" }, list) : "nothing";
}

function health(backend) {
	if (backend.up === null) return badge("not asked yet");
	if (!backend.up) return badge("down", "bad");
	if (backend.cooldowns.some((c) => c.model === null && c.key === null)) return badge("cooling down", "warn");
	return badge("up", "good");
}

function models(backend) {
	const named = [h("span", {}, backend.models.join(", ") || "none")];
	if (backend.discovered) {
		named.push(h("details", {},
			h("summary", {}, `${backend.discovered.length} discovered`),
			h("p", { class: "hint" }, "asked ", time(backend.discovered_at)),
			h("ul", { class: "plain" }, backend.discovered.map((m) => h("li", {}, m)))));
	}
	return named;
}

export const backends = {
	title: "Backends",
	open(main) {
		const list = h("div", {});
		const open = new Set(); // backends whose discovered models are looked at
		main.append(heading("Backends"), list);
		return {
			every: () => 3,
			async load(signal) {
				const { data } = await ask("GET", "backends", { signal });
				if (data.length === 0) {
					list.replaceChildren(nothing("There is no backend.", "Write one into the block pinegate, as in \"backend openai https://api.openai.com\"."));
					return;
				}
				list.replaceChildren(h("section", { class: "card wide", "aria-label": "Backends" }, table("Backends", [
					{ title: "Backend", cell: (b) => [h("strong", {}, b.name), h("div", { class: "faint" }, b.api, b.upstreams.length > 0 && [", ", b.upstreams.join(" ")])] },
					{ title: "Health", cell: health },
					{ title: "In flight", cell: (b) => load(b.inflight, b.max_inflight, "in flight") },
					{ title: "Queue", cell: (b) => (b.queue === null && b.waiting === 0 ? "none" : load(b.waiting, b.queue, "waiting")) },
					{ title: "First token", number: true, cell: (b) => duration(b.first_token_seconds) },
					{ title: "Attempts", number: true, cell: (b) => count(b.attempts) },
					{ title: "Failed", number: true, cell: (b) => [count(b.failures), h("span", { class: "faint" }, b.failures > 0 && ` ${percent(b.failures, b.attempts)}`)] },
					{ title: "Cooling down", cell: cooling },
					{ title: "Models", cell: (b) => remembered(models(b), b.name, open) },
				], data, "backends")));
			},
		};
	},
};

/** Keeps what was opened open when the table is made anew. */
function remembered(content, name, open) {
	for (const element of content.filter((c) => c.localName === "details")) {
		element.open = open.has(name);
		element.addEventListener("toggle", () => (element.open ? open.add(name) : open.delete(name)));
	}
	return content;
}
