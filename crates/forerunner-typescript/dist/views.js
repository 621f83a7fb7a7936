/** What the node answers. `docs/http-api.md` explains each member; an answer leaves out what is not known. */
export {};
