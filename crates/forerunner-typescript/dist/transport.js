/** One call over HTTP: the address, the token, and when a call is repeated. */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { ApiError, Unreachable } from "./errors.js";
import { fetchTrusting } from "./https.js";
const DEFAULT_SERVER = "http://127.0.0.1:7077";
/** The first delay between two tries, and the longest one, without a `Retry-After`. */
const FIRST_DELAY_S = 0.2;
const LONGEST_DELAY_S = 10;
/** Sends calls to a node, and repeats those that are safe to repeat. */
export class Transport {
    server;
    retryForS;
    #options;
    #timeoutS;
    #fetch;
    constructor(options) {
        this.server = (options.server || process.env["FORERUNNER_SERVER"] || DEFAULT_SERVER).replace(/\/+$/, "");
        if (!/^https?:\/\/[^/]/.test(this.server) || !URL.canParse(this.server)) {
            throw new TypeError(`server "${this.server}" is not valid; use an address such as ${DEFAULT_SERVER}`);
        }
        if (options.token && options.tokenFile)
            throw new TypeError("token and tokenFile are both given; give one of them");
        this.#options = options;
        const cacert = options.cacert ?? process.env["FORERUNNER_CACERT"];
        this.#fetch = cacert && this.server.startsWith("https:") ? fetchTrusting(cacert) : (url, init) => fetch(url, init);
        this.#timeoutS = options.timeoutS ?? 30;
        this.retryForS = options.retryForS ?? 60;
    }
    /** Sends a call and returns its JSON. With `repeat`, tries again after failures that may pass. */
    async call(method, path, call) {
        const ends = performance.now() + this.retryForS * 1000;
        for (let tries = 1;; tries += 1) {
            let failure;
            let askedS = 0;
            try {
                const timeout = AbortSignal.timeout((this.#timeoutS + (call.extraWaitS ?? 0)) * 1000);
                const signal = call.signal ? AbortSignal.any([timeout, call.signal]) : timeout;
                const answer = await this.#send(method, path, call, signal);
                const text = await answer.text();
                return text === "" ? undefined : JSON.parse(text);
            }
            catch (error) {
                call.signal?.throwIfAborted();
                if (error instanceof ApiError) {
                    // 429 rejects a call before it takes effect, so every call may be repeated.
                    if (!isTransient(error) || !(call.repeat || error.status === 429))
                        throw error;
                    failure = error;
                    askedS = Number(error.problem["retry_after_s"] ?? 0);
                }
                else {
                    failure = this.#unreachable(error, tries);
                    if (!call.repeat)
                        throw failure;
                }
            }
            const delayMs = delayS(tries, askedS) * 1000;
            if (performance.now() + delayMs > ends)
                throw failure;
            await sleep(delayMs, undefined, call.signal ? { signal: call.signal } : {});
        }
    }
    /** Sends a GET, and returns the answer to be read as a stream. */
    async open(path, headers, signal) {
        return this.#send("GET", path, { headers, repeat: true }, signal);
    }
    #unreachable(error, tries) {
        const cause = error.cause?.message || error.message;
        const remedy = "start the node, or correct the address (server, FORERUNNER_SERVER)";
        return new Unreachable(`${this.server} does not answer: ${cause} (${tries} tries); ${remedy}`, { cause: error });
    }
    async #send(method, path, call, signal) {
        const headers = { Accept: "application/json", ...call.headers };
        const token = await this.#token();
        if (token)
            headers["Authorization"] = `Bearer ${token}`;
        const init = { method, headers, redirect: "error" };
        if (signal)
            init.signal = signal;
        if (call.body !== undefined) {
            headers["Content-Type"] = "application/json";
            init.body = JSON.stringify(call.body);
        }
        const answer = await this.#fetch(this.server + path, init);
        if (!answer.ok)
            throw await apiError(answer);
        return answer;
    }
    async #token() {
        const { token, tokenFile } = this.#options;
        const known = token ?? (tokenFile === undefined ? process.env["FORERUNNER_TOKEN"] : undefined);
        const path = tokenFile ?? process.env["FORERUNNER_TOKEN_FILE"];
        if (known || !path)
            return known?.trim();
        const text = (await readFile(path, "utf8")).trim();
        if (text === "")
            throw new TypeError(`the token file ${path} is empty; write the key into it`);
        return text;
    }
}
/** Whether a later try may succeed. A proxy in front of the node sends 502 and 504. */
export function isTransient(error) {
    return [429, 502, 503, 504].includes(error.status) || error.kind === "outcome-unknown";
}
async function apiError(answer) {
    const text = await answer.text();
    let problem = {};
    try {
        const parsed = JSON.parse(text);
        if (typeof parsed === "object" && parsed !== null)
            problem = parsed;
    }
    catch {
        problem = { detail: text.slice(0, 200).trim() || answer.statusText };
    }
    const header = answer.headers.get("Retry-After");
    if (problem["retry_after_s"] === undefined && header !== null && /^\d+$/.test(header)) {
        problem["retry_after_s"] = Number(header);
    }
    return new ApiError(answer.status, problem);
}
/** The delay before the next try: what the node asks for, else twice the last one; and some chance. */
function delayS(tries, askedS) {
    const baseS = Math.min(FIRST_DELAY_S * 2 ** (tries - 1), LONGEST_DELAY_S);
    // Many clients that were rejected together shall not come back together.
    return Math.max(baseS, askedS) * (1 + Math.random() / 4);
}
