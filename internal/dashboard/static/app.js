// The page: logging in, the views, and what happens when the gate is away.

import { ask, hasKey, setKey } from "./api.js";
import { closeDialogs, closeForms } from "./dialog.js";
import { badge, h, nodes } from "./dom.js";
import { time } from "./format.js";
import { backends } from "./views/backends.js";
import { keys } from "./views/keys.js";
import { limits } from "./views/limits.js";
import { overview } from "./views/overview.js";
import { rejections } from "./views/rejections.js";
import { requests } from "./views/requests.js";
import { teams } from "./views/teams.js";

const views = { overview, limits, backends, requests, rejections, keys, teams };

const $ = (id) => document.getElementById(id);
const form = document.forms[0];

const statusEvery = 5; // seconds
const retryEvery = 3; // seconds, while the gate is away
const saidFor = 6e3; // milliseconds

let shown = null; // the view that is open

// Logging in and out.

form.addEventListener("submit", async (event) => {
	event.preventDefault();
	const field = $("admin-key");
	const button = form.querySelector("button");
	$("login-error").replaceChildren();
	button.disabled = true;
	setKey(field.value.trim());
	try {
		showStatus(await ask("GET", "status"));
		field.value = "";
		enter();
	} catch (problem) {
		setKey(null);
		$("login-error").textContent = `${problem.message} ${problem.hint}`;
		field.select();
		field.focus();
	} finally {
		button.disabled = false;
	}
});

function enter() {
	$("login").hidden = true;
	$("shell").hidden = false;
	session = new AbortController();
	show();
	watching = setTimeout(watch, statusEvery * 1000, session.signal);
}

function leave(message = "") {
	setKey(null);
	closeDialogs();
	close();
	session?.abort();
	clearTimeout(watching);
	$("shell").hidden = true;
	$("main").replaceChildren();
	$("state").replaceChildren();
	$("login").hidden = false;
	$("login-error").textContent = message;
	document.title = "pine-gate";
	$("admin-key").focus();
}

$("logout").addEventListener("click", () => leave());

// The state of the gate, in the head.

let watching = null;
let session = null; // ends with logging out

async function watch(signal) {
	let wait = statusEvery;
	try {
		showStatus(await ask("GET", "status", { signal }));
		if (shown?.failed) run(); // it is back
	} catch (problem) {
		if (signal.aborted || refused(problem)) return;
		$("state").replaceChildren(h("li", {}, badge("away", "bad")));
		wait = retryEvery;
	}
	watching = setTimeout(watch, wait * 1000, signal);
}

function showStatus(status) {
	const { store } = status;
	$("state").replaceChildren(...nodes(
		h("li", {}, badge(store.up ? "up" : "store away", store.up ? "good" : "bad")),
		!store.up && store.mode && h("li", {}, `limits: ${store.mode}`),
		h("li", { class: "wide-only" }, `store ${store.type}`),
		status.gates > 1 && h("li", {}, `${status.gates} gates`),
		h("li", {}, `${status.inflight} in flight`),
		h("li", { class: "wide-only" }, "since ", time(status.started_at)),
		h("li", { class: "wide-only" }, status.version)));
}

/** Logs out where the key is none any more. */
function refused(problem) {
	if (problem.status !== 401 && problem.status !== 403) return false;
	leave("The admin key is not accepted any more. Log in with the one that holds now.");
	return true;
}

// Views, by the address's fragment: #/keys/alice?…. No key ever stands there.

function place() {
	const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
	const [name, id] = path.split("/");
	let decoded = null;
	try {
		decoded = id === undefined || id === "" ? null : decodeURIComponent(id);
	} catch { /* not an id of ours */ }
	return { name: Object.hasOwn(views, name) ? name : "overview", id: decoded, params: new URLSearchParams(query) };
}

function show() {
	if (!hasKey()) return;
	close();
	const { name, id, params } = place();
	const abort = new AbortController();
	const main = $("main");
	main.replaceChildren();
	showProblem(null);
	$("nav").replaceChildren(...Object.entries(views).map(([n, v]) =>
		h("a", { href: `#/${n}`, "aria-current": n === name ? "page" : null }, v.title)));
	document.title = `${id ?? views[name].title} · pine-gate`;
	const view = views[name].open(main, {
		id, params, signal: abort.signal, say,
		rerun: () => run(),
		go: (hash) => { location.hash = hash; },
		// What was chosen stays in the address, so that it can be kept and sent.
		remember: (chosen) => history.replaceState(null, "", `#/${name}?${new URLSearchParams(Object.entries(chosen).filter(([, v]) => v))}`),
	});
	shown = { view, abort, timer: null, running: null, failed: false };
	main.setAttribute("aria-busy", "true");
	run();
}

function close() {
	if (!shown) return;
	closeForms();
	clearTimeout(shown.timer);
	shown.running?.abort();
	shown.abort.abort();
	shown.view.close?.();
	shown = null;
}

/** Loads what the view shows, and again after a while. A later call replaces one that is under way. */
async function run() {
	const current = shown;
	if (!current) return;
	clearTimeout(current.timer);
	current.running?.abort();
	const running = new AbortController();
	current.running = running;
	try {
		await current.view.load(running.signal);
		if (running.signal.aborted) return;
		current.failed = false;
		showProblem(null);
		$("main").removeAttribute("aria-busy");
	} catch (problem) {
		if (running.signal.aborted) return;
		if (problem.status === undefined) throw problem; // a mistake of ours: for the console
		if (refused(problem)) return;
		current.failed = true;
		$("main").removeAttribute("aria-busy");
		showProblem(problem);
	}
	// What has failed is tried again by watch, once the gate answers.
	const every = current.failed ? 0 : current.view.every();
	if (every > 0) {
		// Nobody looks at a hidden page; it is loaded when somebody does.
		current.timer = setTimeout(() => { if (!document.hidden) run(); }, every * 1000);
	}
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) run(); });
addEventListener("hashchange", () => {
	show();
	$("main").focus({ preventScroll: true });
	scrollTo(0, 0);
});

// Notices.

function showProblem(problem) {
	const text = problem ? `${problem.message} ${problem.hint}`.trim() : "";
	const panel = $("problem");
	if (panel.dataset.text === text) return; // said already
	panel.dataset.text = text;
	panel.replaceChildren(...nodes(problem && h("div", { class: "problem" },
		h("p", {}, h("strong", {}, problem.message), " ", problem.hint),
		h("button", { onclick: () => run() }, "Try again"))));
}

let saying = null;

/** Says what was done, for some seconds. */
function say(text, bad = false) {
	clearTimeout(saying);
	$("said").replaceChildren(h("p", { class: bad ? "bad" : null }, text));
	saying = setTimeout(() => $("said").replaceChildren(), saidFor);
}

leave();
