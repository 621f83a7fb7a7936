/**
 * Contexts that an agent has in memory, and the change that a task made to one.
 *
 * Items are stored as JSON text. A task gets a copy, so a task that fails leaves the items as they were.
 */

export type Step = { copy: [number, number] } | { insert: unknown[] };
export type Change = { append: unknown[] } | { edit: Step[] } | { replace: unknown[] };
export type ContextRef = { id: string; version: number; items: number };

/** The agent does not have the context in the version that the node builds on. */
export class MissingContext extends Error {}

/** Returns a value as JSON on one line, and refuses what is none. */
export function encode(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new TypeError(`a ${typeof value} is no JSON; use a value that JSON.stringify writes`);
  return text;
}

/** The contexts of an agent: for each id, the version that the node named last, and the items. */
export class Contexts {
  readonly #known = new Map<string, { version: number; items: string[] }>();

  /** Applies `context/load`. */
  load(params: { id: string; version: number; base: number | null; items?: unknown[]; edit?: Step[] }): void {
    const known = this.#known.get(params.id);
    if (params.base !== null && params.base !== known?.version) {
      throw new MissingContext(`context ${params.id} is not here at version ${params.base}`);
    }
    const items = params.base === null ? [] : (known?.items ?? []);
    const next = params.edit ? applyEdit(params.id, items, params.edit) : items.concat((params.items ?? []).map(encode));
    this.#known.set(params.id, { version: params.version, items: next });
  }

  /** Applies `context/drop`. */
  drop(id: string): void {
    this.#known.delete(id);
  }

  /** Returns the items for a task, and notes their version. */
  begin(context: ContextRef | null): string[] {
    if (context === null) return [];
    const items = this.#known.get(context.id)?.items ?? [];
    if (items.length !== context.items) {
      throw new MissingContext(`context ${context.id} has ${items.length} items here, not ${context.items}`);
    }
    this.commit(context, items);
    return items;
  }

  /** Adopts the items of a task that succeeded. The next request of the node names their version. */
  commit(context: ContextRef, items: string[]): void {
    this.#known.set(context.id, { version: context.version, items });
  }
}

/** Returns the items that the steps of an edit lead to. */
export function applyEdit(id: string, items: readonly string[], steps: readonly Step[]): string[] {
  return steps.flatMap((step) => {
    if ("insert" in step) return step.insert.map(encode);
    const [start, count] = step.copy;
    if (start < 0 || count < 1 || start + count > items.length) {
      throw new MissingContext(`context ${id} has ${items.length} items here; the edit copies ${step.copy}`);
    }
    return items.slice(start, start + count);
  });
}

/** Returns the change from old items to new ones as the protocol has it; `undefined` if there is none. */
export function difference(old: readonly string[], next: readonly string[]): Change | undefined {
  const parse = (items: readonly string[]) => items.map((item) => JSON.parse(item) as unknown);
  if (old.every((item, index) => item === next[index])) {
    return old.length === next.length ? undefined : { append: parse(next.slice(old.length)) };
  }
  const steps = editSteps(old, next);
  return steps.some((step) => "copy" in step) ? { edit: steps } : { replace: parse(next) };
}

/** Copies runs of old items and inserts the others, in one pass over the new items. */
function editSteps(old: readonly string[], next: readonly string[]): Step[] {
  const first = new Map<string, number>();
  old.forEach((item, index) => first.has(item) || first.set(item, index));
  const steps: Step[] = [];
  let following = 0;
  for (const item of next) {
    // The item after the last copied one is preferred, so that runs stay whole where items repeat.
    const index = old[following] === item ? following : first.get(item);
    const last = steps.at(-1);
    if (index === undefined) {
      if (last && "insert" in last) last.insert.push(JSON.parse(item));
      else steps.push({ insert: [JSON.parse(item)] });
      continue;
    }
    if (last && "copy" in last && index === following) last.copy[1] += 1;
    else steps.push({ copy: [index, 1] });
    following = index + 1;
  }
  return steps;
}
