/** A call over TLS with authorities of one's own, which `fetch` of Node cannot have. */
/** Returns a function that calls as `fetch` does, and also trusts the authorities in a file. */
export declare function fetchTrusting(path: string): (url: string, init: RequestInit) => Promise<Response>;
