/** One call over HTTP: the address, the token, and when a call is repeated. */
import { ApiError } from "./errors.js";
export type ClientOptions = {
    /** The address of the node; else `FORERUNNER_SERVER`, else http://127.0.0.1:7077. */
    server?: string;
    /** The bearer token; else that of `tokenFile`, else `FORERUNNER_TOKEN`, else that of the file `FORERUNNER_TOKEN_FILE`. */
    token?: string;
    /** A file with the token. It is read for each call, since keys are rotated. */
    tokenFile?: string;
    /** A file with authorities that sign the node's certificate, beside those of Node; else `FORERUNNER_CACERT`. */
    cacert?: string;
    /** How long one try may take, waits apart. */
    timeoutS?: number;
    /** How long a call is repeated that is safe to repeat. */
    retryForS?: number;
};
export type Call = {
    body?: unknown;
    headers?: Record<string, string>;
    /** Whether the call has the same effect if it is sent twice. */
    repeat: boolean;
    extraWaitS?: number;
    signal?: AbortSignal | undefined;
};
/** Sends calls to a node, and repeats those that are safe to repeat. */
export declare class Transport {
    #private;
    readonly server: string;
    readonly retryForS: number;
    constructor(options: ClientOptions);
    /** Sends a call and returns its JSON. With `repeat`, tries again after failures that may pass. */
    call(method: string, path: string, call: Call): Promise<any>;
    /** Sends a GET, and returns the answer to be read as a stream. */
    open(path: string, headers: Record<string, string>, signal?: AbortSignal): Promise<Response>;
}
/** Whether a later try may succeed. A proxy in front of the node sends 502 and 504. */
export declare function isTransient(error: ApiError): boolean;
