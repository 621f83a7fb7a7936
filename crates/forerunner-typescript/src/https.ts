/** A call over TLS with authorities of one's own, which `fetch` of Node cannot have. */

import { readFileSync } from "node:fs";
import { request } from "node:https";
import { Readable } from "node:stream";
import { rootCertificates } from "node:tls";

/** Returns a function that calls as `fetch` does, and also trusts the authorities in a file. */
export function fetchTrusting(path: string): (url: string, init: RequestInit) => Promise<Response> {
  const ca = [...rootCertificates, readAuthorities(path)];
  return (url, init) =>
    new Promise((resolve, reject) => {
      const { method = "GET", headers, signal } = init;
      const options = { method, headers: { ...(headers as Record<string, string>), Connection: "close" }, ca };
      const call = request(url, signal ? { ...options, signal } : options, (answer) => {
        const status = answer.statusCode ?? 502;
        const hasBody = status !== 204 && status !== 304;
        if (!hasBody) answer.resume();
        const body = hasBody ? (Readable.toWeb(answer) as unknown as ReadableStream) : null;
        const known = new Headers();
        for (const [name, value] of Object.entries(answer.headers)) known.set(name, String(value));
        resolve(new Response(body, { status, statusText: answer.statusMessage ?? "", headers: known }));
      });
      call.on("error", reject);
      call.end(init.body as string | undefined);
    });
}

function readAuthorities(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new TypeError(`the authorities in ${path} cannot be read: ${error}; correct cacert or FORERUNNER_CACERT`);
  }
}
