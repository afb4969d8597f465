// Spend, tokens, requests and errors over time, by key, team, model or backend.

import { usage } from "../api.js";
import { Chart, bucketNames, colours, swatch } from "../chart.js";
import { h, heading, nodes, nothing, segments, table } from "../dom.js";
import { count, money, percent, short } from "../format.js";
import { rangeQuery, ranges, summarise, tokens } from "../usage.js";

const groupings = { key: "Key", team: "Team", model: "Model", backend: "Backend" };
const unnamed = { team: "no team", backend: "no backend" };

const metrics = [
	{ name: "spend", title: "Spend", of: (s) => s.cost_usd ?? 0, total: (t) => money(t.cost_usd), format: money, whole: false },
	{ name: "tokens", title: "Tokens", of: tokens, total: (t) => short(tokens(t)), format: short, whole: true },
	{ name: "requests", title: "Requests", of: (s) => s.requests, total: (t) => short(t.requests), format: short, whole: true },
	{ name: "errors", title: "Errors", of: (s) => s.errors, total: (t) => short(t.errors), format: short, whole: true },
];

// A table with more rows is of no use to read.
const mostRows = 100;

/** The word for what a result has no name for. */
export const groupTitle = (by, name) => (name === null ? "others" : name === "" ? unnamed[by] ?? "unknown" : name);

export const overview = {
	title: "Overview",
	open(main, { params, remember, rerun }) {
		const chosen = {
			range: params.get("range") in ranges ? params.get("range") : "24h",
			by: params.get("by") in groupings ? params.get("by") : "key",
		};
		const choose = (name) => (value) => {
			chosen[name] = value;
			remember(chosen);
			rerun();
		};
		const cards = metrics.map((metric) => new Card(metric));
		const charts = h("div", { class: "charts", hidden: true }, cards.map((c) => c.element));
		const below = h("div", {});
		main.append(
			heading("Overview",
				segments("Time", "range", Object.entries(ranges).map(([value, r]) => [value, r.title]), chosen.range, choose("range")),
				segments("By", "by", Object.entries(groupings), chosen.by, choose("by"))),
			charts, below);

		return {
			every: () => (chosen.range === "1h" ? 10 : 30),
			close: () => cards.forEach((c) => c.chart.close()),
			async load(signal) {
				const { range, by } = chosen;
				const data = await usage({ ...rangeQuery(range), group_by: by }, signal);
				const sums = summarise(data, by, colours);
				const empty = sums.total.requests === 0;
				charts.hidden = empty;
				if (empty) {
					below.replaceChildren(nothing("Nothing was used in this time.",
						"What a request has used stands here as soon as its answer has ended. Send one through the gate, or look at a longer time."));
					return;
				}
				for (const card of cards) card.show(sums, by, ranges[range].width);
				below.replaceChildren(...nodes(totals(sums, by), notes(sums.total)));
			},
		};
	},
};

/** One metric: its total, its chart, and its figures for those who read them. */
class Card {
	constructor(metric) {
		this.metric = metric;
		this.chart = new Chart(metric.name);
		this.total = h("p", { class: "total" });
		this.figures = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Figures of ${metric.title.toLowerCase()}` });
		this.details = h("details", { ontoggle: () => this.fill() },
			h("summary", {}, "Figures", h("span", { class: "unseen" }, ` of ${metric.title.toLowerCase()} over time`)), this.figures);
		this.element = h("section", { class: "card", "aria-label": metric.title },
			h("h2", {}, metric.title), this.total, this.chart.box, this.details);
	}

	show(sums, by, width) {
		const { metric } = this;
		this.shown = { sums, by, width };
		this.total.replaceChildren(metric.total(sums.total), ...nodes(aside(metric, sums.total)));
		this.chart.draw(sums.buckets,
			sums.series.map((s) => ({ title: groupTitle(by, s.name), rank: s.rank, values: s.points.map(metric.of) })),
			{
				width, format: metric.format, whole: metric.whole,
				label: `${metric.title} over time by ${by}, ${metric.total(sums.total)} in all. The figures are below.`,
			});
		this.fill();
	}

	/** Writes the table, once it is looked at. */
	fill() {
		if (!this.details.open || !this.shown) return;
		const { sums: { buckets, series }, by, width } = this.shown;
		const names = bucketNames(width);
		const rows = buckets.map((b, at) => ({ b, at })).filter(({ at }) => series.some((s) => s.points[at].requests > 0)).reverse();
		this.figures.replaceChildren(table(`${this.metric.title} over time`, [
			{ title: width === "1d" || width === "1mo" ? "Time (UTC)" : "Time", cell: ({ b }) => names.full(b.start) },
			...series.map((s) => ({ title: groupTitle(by, s.name), number: true, cell: ({ at }) => this.metric.format(this.metric.of(s.points[at])) })),
		], rows, "dense"));
	}
}

function aside(metric, total) {
	switch (metric.name) {
	case "tokens": return h("small", {}, `${short(total.input_tokens)} in, ${short(total.output_tokens)} out`);
	case "errors": return h("small", {}, `${percent(total.errors, total.requests)} of requests`);
	}
	return null;
}

/** The table of totals, which is the charts' legend, too. */
function totals({ groups, total }, by) {
	const name = (g) => {
		const title = groupTitle(by, g.name);
		return [swatch(g.rank), by === "key" && g.name ? h("a", { href: `#/keys/${encodeURIComponent(g.name)}` }, title) : title];
	};
	const columns = [
		{ title: groupings[by], cell: (g) => (g === total ? "Total" : name(g)) },
		{ title: "Requests", number: true, cell: (g) => count(g.requests) },
		{ title: "Errors", number: true, cell: (g) => count(g.errors) },
		{ title: "Input", number: true, cell: (g) => count(g.input_tokens) },
		{ title: "Cached", number: true, cell: (g) => count(g.input_cached_tokens) },
		{ title: "Output", number: true, cell: (g) => count(g.output_tokens) },
		{ title: "Spend", number: true, cell: (g) => money(g.cost_usd) },
	];
	const more = groups.length - mostRows;
	return h("section", { class: "card wide", "aria-label": "Totals" },
		h("h2", {}, "Totals"),
		table(`Totals by ${by}`, columns, [...groups.slice(0, mostRows), total], "totals"),
		more > 0 && h("p", { class: "hint" }, `${more} more are in the total: "caddy pinegate usage" lists them all.`));
}

/** What the figures leave out or guess. */
function notes(total) {
	const said = [];
	if (total.unpriced_requests > 0) said.push(`${short(total.unpriced_requests)} requests have no price, and are not in the spend: give their model one.`);
	if (total.estimated_requests > 0) said.push(`The tokens of ${short(total.estimated_requests)} requests are estimated, since their backend did not report them.`);
	return said.length > 0 && h("p", { class: "hint" }, said.join(" "));
}
