"""Changes of contexts: what one side finds, the other side can apply."""

import json
import random
import unittest

from forerunner.context import Contexts, MissingContext, apply_edit, difference, encode


def items(text):
    return [encode(letter) for letter in text]


class DifferenceTest(unittest.TestCase):
    def test_each_kind_of_change_has_its_form(self):
        cases = [
            ("abc", "abc", None),
            ("", "ab", {"append": ["a", "b"]}),
            ("ab", "abcd", {"append": ["c", "d"]}),
            ("abcd", "abd", {"edit": [{"copy": [0, 2]}, {"copy": [3, 1]}]}),
            ("abcd", "aXd", {"edit": [{"copy": [0, 1]}, {"insert": ["X"]}, {"copy": [3, 1]}]}),
            ("aab", "ab", {"edit": [{"copy": [0, 1]}, {"copy": [2, 1]}]}),
            ("ab", "xy", {"replace": ["x", "y"]}),
            ("ab", "", {"replace": []}),
        ]
        for old, new, change in cases:
            with self.subTest(old=old, new=new):
                self.assertEqual(difference(items(old), items(new)), change)

    def test_equal_numbers_of_other_types_are_other_items(self):
        self.assertEqual(difference([encode(1)], [encode(True)]), {"replace": [True]})

    def test_an_edit_leads_to_the_new_items(self):
        chance = random.Random(7)
        for _ in range(2_000):
            old = items(chance.choices("abcd", k=chance.randint(0, 12)))
            new = items(chance.choices("abcde", k=chance.randint(0, 12)))
            change = difference(old, new)
            if change is None:
                result = old
            elif "append" in change:
                result = old + [encode(item) for item in change["append"]]
            elif "replace" in change:
                result = [encode(item) for item in change["replace"]]
            else:
                result = apply_edit("c", old, json.loads(json.dumps(change["edit"])))
            self.assertEqual(result, new)


class ContextsTest(unittest.TestCase):
    def test_loads_build_on_the_version_that_the_node_named(self):
        contexts = Contexts()
        contexts.load({"id": "c", "version": 3, "base": None, "items": ["a", "b"]})
        contexts.load({"id": "c", "version": 5, "base": 3, "items": ["c"]})
        contexts.load({"id": "c", "version": 6, "base": 5, "edit": [{"copy": [1, 2]}, {"insert": ["d"]}]})
        self.assertEqual(contexts.begin({"id": "c", "version": 6, "items": 3}), items("bcd"))
        with self.assertRaises(MissingContext):
            contexts.load({"id": "c", "version": 9, "base": 8, "items": []})
        with self.assertRaises(MissingContext):
            contexts.load({"id": "c", "version": 9, "base": 6, "edit": [{"copy": [2, 2]}]})
        contexts.drop("c")
        with self.assertRaises(MissingContext):
            contexts.begin({"id": "c", "version": 6, "items": 3})

    def test_a_new_context_is_empty_and_a_task_without_one_has_no_items(self):
        self.assertEqual(Contexts().begin({"id": "new", "version": 0, "items": 0}), [])
        self.assertEqual(Contexts().begin(None), [])


if __name__ == "__main__":
    unittest.main()
