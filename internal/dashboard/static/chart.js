// Stacked bars over time, drawn by uPlot (a classic script: uplot/README.md).

import { h } from "./dom.js";

const { uPlot } = globalThis;
const dark = matchMedia("(prefers-color-scheme: dark)");

/** How many groups have a colour of their own; the rest is one more. */
export const colours = 8;

/** The class of a group's colour, by its rank; -1: of the rest. */
export const swatch = (rank) => h("span", { class: `swatch c${rank}`, "aria-hidden": "true" });

const colour = (rank) => getComputedStyle(document.documentElement).getPropertyValue(rank < 0 ? "--c-rest" : `--c${rank}`).trim();
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** How an axis and a readout name a bucket: months and days are UTC's, as the gate counts them. */
export function bucketNames(width) {
	const zone = width === "1d" || width === "1mo" ? { timeZone: "UTC" } : {};
	const format = (options) => new Intl.DateTimeFormat("en-GB", { ...zone, hourCycle: "h23", ...options });
	const date = format({ day: "numeric", month: "short" });
	const clock = format({ hour: "2-digit", minute: "2-digit" });
	const month = format({ month: "short", year: "numeric" });
	const both = format({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
	const on = (formatter) => (unix) => formatter.format(new Date(unix * 1000));
	return {
		full: on({ "1mo": month, "1d": date }[width] ?? both),
		tick: (unix, step) => on(step >= 28 * 86400 ? month : step >= 86400 ? date : clock)(unix),
		zoned: (unix) => (zone.timeZone ? uPlot.tzDate(new Date(unix * 1000), "Etc/UTC") : new Date(unix * 1000)),
	};
}

/**
 * A chart that follows its box's width and the colour scheme.
 *
 * @param {string} name for `data-chart`
 */
export class Chart {
	constructor(name) {
		this.box = h("div", { class: "chart", role: "img", "data-chart": name });
		this.box.chart = this; // whoever has the element finds what it draws
		this.readout = h("div", { class: "readout", hidden: true });
		this.plot = null;
		this.resized = new ResizeObserver(() => this.plot && this.plot.setSize(this.size()));
		this.resized.observe(this.box);
		this.recolour = () => this.shown && this.draw(...this.shown);
		dark.addEventListener("change", this.recolour);
	}

	/** Gives up what outlives the element. */
	close() {
		this.resized.disconnect();
		dark.removeEventListener("change", this.recolour);
		this.plot?.destroy();
	}

	size() {
		return { width: Math.max(200, this.box.clientWidth), height: 190 };
	}

	/**
	 * Draws.
	 *
	 * @param {{start: number, end: number}[]} buckets
	 * @param {{title: string, rank: number, values: number[]}[]} groups the lowest of the stack first
	 * @param {{width: string, label: string, format: function(number): string, whole: boolean}} how
	 */
	draw(buckets, groups, how) {
		this.shown = [buckets, groups, how];
		this.box.setAttribute("aria-label", how.label);
		const pointer = this.plot && { left: this.plot.cursor.left, top: this.plot.cursor.top };
		this.plot?.destroy();

		// Each bar is drawn from zero to the sum of those below it and itself, the
		// highest first, so that what lies below is drawn over it.
		const sums = [];
		for (const group of groups) {
			const below = sums.at(-1);
			sums.push(group.values.map((v, i) => v + (below ? below[i] : 0)));
		}
		const names = bucketNames(how.width);
		const top = Math.max(0, ...(sums.at(-1) ?? []));
		const bars = uPlot.paths.bars({ size: [0.82, 64] });
		const axis = {
			stroke: token("--quiet"), font: `11px ${token("--font")}`, gap: 4,
			grid: { stroke: token("--line"), width: 1 }, ticks: { show: false },
		};
		this.plot = new uPlot({
			...this.size(),
			padding: [8, 6, 0, 0],
			tzDate: names.zoned,
			legend: { show: false },
			select: { show: false },
			cursor: { y: false, points: { show: false }, drag: { x: false, y: false, setScale: false } },
			scales: {
				x: { time: true, range: () => [buckets[0].start, buckets.at(-1).end] },
				y: { range: () => [0, top > 0 ? top * 1.06 : 1] },
			},
			axes: [
				{ ...axis, grid: { show: false }, size: 24, space: 64, values: (_, at, __, ___, step) => at.map((t) => names.tick(t, step)) },
				{ ...axis, size: 56, space: 36, ...(how.whole && { incrs: wholeSteps }), values: (_, at) => at.map((v) => how.format(v)) },
			],
			series: [{}, ...groups.map((g) => ({ label: g.title, fill: colour(g.rank), stroke: colour(g.rank), width: 0, paths: bars, points: { show: false } })).reverse()],
			hooks: { setCursor: [(plot) => this.read(plot, names)] },
		}, [buckets.map((b) => (b.start + b.end) / 2), ...sums.slice().reverse()], this.box);
		this.plot.over.append(this.readout);
		if (pointer?.left >= 0) this.plot.setCursor(pointer); // who reads goes on reading
	}

	/** Shows what is under the pointer. */
	read(plot, names) {
		const [buckets, groups, how] = this.shown;
		const at = plot.cursor.idx;
		this.readout.hidden = at === null || at === undefined || plot.cursor.left < 0;
		if (this.readout.hidden) return;
		const used = groups.filter((g) => g.values[at] > 0);
		this.readout.replaceChildren(
			h("p", {}, names.full(buckets[at].start)),
			...used.toReversed().map((g) => h("p", {}, swatch(g.rank), h("span", {}, g.title), h("b", {}, how.format(g.values[at])))),
			...(used.length === 0 ? [h("p", {}, "nothing")] : []));
		const right = plot.cursor.left > plot.over.clientWidth / 2;
		this.readout.style.left = right ? "" : `${plot.cursor.left + 12}px`;
		this.readout.style.right = right ? `${plot.over.clientWidth - plot.cursor.left + 12}px` : "";
	}
}

// 1, 2, 5, 10, …: there is no half of a request.
const wholeSteps = Array.from({ length: 13 }, (_, e) => [1, 2, 5].map((n) => n * 10 ** e)).flat();
