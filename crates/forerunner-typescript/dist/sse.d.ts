/** Server-sent events, as WHATWG HTML defines them and as far as the node uses them. */
/** Yields id and data of each event until the stream ends. */
export declare function readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<{
    id: string;
    data: string;
}>;
