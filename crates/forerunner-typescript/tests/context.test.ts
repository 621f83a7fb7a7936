import assert from "node:assert/strict";
import { test } from "node:test";

import { type Change, Contexts, MissingContext, applyEdit, difference, encode } from "../src/context.js";

const items = (text: string) => [...text].map(encode);

test("each kind of change has its form", () => {
  const cases: [string, string, Change | undefined][] = [
    ["abc", "abc", undefined],
    ["", "ab", { append: ["a", "b"] }],
    ["ab", "abcd", { append: ["c", "d"] }],
    ["abcd", "abd", { edit: [{ copy: [0, 2] }, { copy: [3, 1] }] }],
    ["abcd", "aXd", { edit: [{ copy: [0, 1] }, { insert: ["X"] }, { copy: [3, 1] }] }],
    ["aab", "ab", { edit: [{ copy: [0, 1] }, { copy: [2, 1] }] }],
    ["ab", "xy", { replace: ["x", "y"] }],
    ["ab", "", { replace: [] }],
  ];
  for (const [old, next, change] of cases) assert.deepEqual(difference(items(old), items(next)), change, `${old} ${next}`);
});

test("an edit leads to the new items", () => {
  let state = 7;
  const below = (limit: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * limit);
  };
  const text = (letters: string) => Array.from({ length: below(13) }, () => letters[below(letters.length)]).join("");
  for (let round = 0; round < 2_000; round += 1) {
    const [old, next] = [items(text("abcd")), items(text("abcde"))];
    const change = difference(old, next);
    let result = old;
    if (change && "append" in change) result = [...old, ...change.append.map(encode)];
    else if (change && "replace" in change) result = change.replace.map(encode);
    else if (change) result = applyEdit("c", old, change.edit);
    assert.deepEqual(result, next);
  }
});

test("loads build on the version that the node named", () => {
  const contexts = new Contexts();
  contexts.load({ id: "c", version: 3, base: null, items: ["a", "b"] });
  contexts.load({ id: "c", version: 5, base: 3, items: ["c"] });
  contexts.load({ id: "c", version: 6, base: 5, edit: [{ copy: [1, 2] }, { insert: ["d"] }] });
  assert.deepEqual(contexts.begin({ id: "c", version: 6, items: 3 }), items("bcd"));
  assert.throws(() => contexts.load({ id: "c", version: 9, base: 8, items: [] }), MissingContext);
  assert.throws(() => contexts.load({ id: "c", version: 9, base: 6, edit: [{ copy: [2, 2] }] }), MissingContext);
  contexts.drop("c");
  assert.throws(() => contexts.begin({ id: "c", version: 6, items: 3 }), MissingContext);
  assert.deepEqual(contexts.begin({ id: "new", version: 0, items: 0 }), []);
  assert.deepEqual(contexts.begin(null), []);
});
