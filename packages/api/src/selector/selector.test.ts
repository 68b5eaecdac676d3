import { createHash } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { and, type Comparison, membership, or, type Selector, SelectorError } from "./ast.ts";
import { canonical, selectorId } from "./canonical.ts";
import { evaluate, type Labels } from "./evaluate.ts";
import { parseSelector } from "./parse.ts";
import { requiredLabel } from "./restriction.ts";
import { sha256 } from "./sha256.ts";

describe("parse: the grammar of calico.md §4.3", () => {
  test.each<[string, string, string]>([
    ["empty text selects everything", "", "all()"],
    ["as does blank text", "  \t", "all()"],
    ["both kinds of quotes", `a == 'x' || b == "y"`, `a == "x" || b == "y"`],
    ["a double quote inside single ones", `a == 'say "hi"'`, `a == 'say "hi"'`],
    ["no space is needed", `a=='x'&&b!='y'`, `a == "x" && b != "y"`],
    ["space and line breaks are free", `a\n in\t{ 'y' , 'x' }`, `a in {"x", "y"}`],
    ["a set has no order and no doubles", `a in {'y','x','y'}`, `a in {"x", "y"}`],
    ["the empty set", "a in {}", "a in {}"],
    ["not in, in two words", "a not in {'x'}", `a not in {"x"}`],
    ["notin, in one", "a notin {'x'}", `a not in {"x"}`],
    [
      "substrings",
      "a contains 'x' && b starts with 'y' && c ends with 'z'",
      `a contains "x" && b starts with "y" && c ends with "z"`,
    ],
    ["presence", "has(a) && !has(b)", "has(a) && !has(b)"],
    ["&& binds closer than ||", "has(a) || has(b) && has(c)", "has(a) || (has(b) && has(c))"],
    ["parentheses change that", "(has(a) || has(b)) && has(c)", "(has(a) || has(b)) && has(c)"],
    [
      "parentheses that change nothing vanish",
      "((has(a)) && (has(b) && has(c)))",
      "has(a) && has(b) && has(c)",
    ],
    ["! binds closest", "!has(a) && has(b)", "!has(a) && has(b)"],
    ["! of a group", "!(has(a) || has(b))", "!(has(a) || has(b))"],
    ["! of !", "!!has(a)", "!!has(a)"],
    [
      "labels hold . / - _ and digits",
      "projectcalico.org/name-1_x == 'v'",
      `projectcalico.org/name-1_x == "v"`,
    ],
    [
      "keywords are labels where a label stands",
      "in in {'x'} && not == 'y' && has == 'z'",
      `in in {"x"} && not == "y" && has == "z"`,
    ],
    ["space inside calls", "has( a ) && all( )", "has(a) && all()"],
    ["global() alone", " global() ", "global()"],
  ])("%s", (_why, text, expected) => {
    expect(canonical(parseSelector(text))).toBe(expected);
  });

  test.each<[string, string, number, RegExp]>([
    ["one = is no operator", "a = 'x'", 2, /found "=", expected "=="/],
    ["one & neither", "has(a) & has(b)", 7, /expected "&&"/],
    ["a string is not closed", "a == 'x", 5, /not closed/],
    ["no value", "a ==", 4, /expected a quoted string, found the end/],
    ["a bare word is no value", "a == x", 5, /expected a quoted string, found "x"/],
    ["a label alone", "a", 1, /expected ==, !=, in/],
    ["no closing parenthesis", "(has(a)", 7, /expected \), found the end/],
    ["one too many", "has(a))", 6, /expected &&, \|\| or the end, found "\)"/],
    ["nothing after &&", "has(a) &&", 9, /expected a label/],
    ["no comma", "a in {'x' 'y'}", 10, /expected \}, found "y"/],
    ["trailing comma", "a in {'x',}", 10, /expected a quoted string/],
    ["starts without with", "a starts 'x'", 9, /expected with/],
    ["not without in", "a not 'x'", 6, /expected in/],
    ["unknown function", "any()", 0, /there is no any\(\)/],
    ["global() among others", "has(a) && global()", 10, /only stand alone/],
    ["a string for a label", "'a' == 'b'", 0, /expected a label/],
    ["characters of no token", "a == 'x' ; b", 9, /unexpected ";"/],
    ["a label beyond 512 characters", `${"a".repeat(513)} == 'x'`, 0, /at most 512/],
    ["nesting beyond 64", `${"(".repeat(80)}has(a)${")".repeat(80)}`, 65, /nested deeper/],
  ])("refuses: %s", (_why, text, position, message) => {
    const error = thrown(() => parseSelector(text));
    expect(error).toBeInstanceOf(SelectorError);
    expect(error).toMatchObject({
      code: "invalid-selector",
      position,
      message: expect.stringMatching(message),
    });
  });

  test("any text is parsed or refused with a SelectorError", () => {
    const pieces = [
      "a",
      "'x'",
      '"',
      "==",
      "!=",
      "&&",
      "||",
      "!",
      "(",
      ")",
      "{",
      "}",
      ",",
      " in ",
      "not",
      "has(",
      "all()",
      "starts with",
    ];
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(fc.constantFrom(...pieces)).map((p) => p.join(" ")),
        ),
        (text) => {
          const error = thrown(() => parseSelector(text));
          expect(error === undefined || error instanceof SelectorError).toBe(true);
        },
      ),
    );
  });
});

function thrown(f: () => unknown): unknown {
  try {
    f();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe("evaluate", () => {
  const labels = { app: "web", "tier.x/y": "front-end", empty: "" };
  test.each<[string, boolean]>([
    ["app == 'web'", true],
    ["app == 'db'", false],
    ["none == ''", false],
    ["empty == ''", true],
    ["app != 'db'", true],
    ["none != 'db'", true],
    ["app in {'db', 'web'}", true],
    ["none in {'db'}", false],
    ["app in {}", false],
    ["app not in {'web'}", false],
    ["none not in {'web'}", true],
    ["app contains 'e'", true],
    ["app contains ''", true],
    ["none contains ''", false],
    ["tier.x/y starts with 'front'", true],
    ["tier.x/y ends with '-end'", true],
    ["none ends with ''", false],
    ["has(empty)", true],
    ["has(none)", false],
    ["has(constructor)", false],
    ["toString == 'x'", false],
    ["all()", true],
    ["!all()", false],
    ["app == 'db' || has(empty)", true],
    ["app == 'db' && has(empty)", false],
  ])("%s is %s", (text, expected) => {
    expect(evaluate(parseSelector(text), labels)).toBe(expected);
  });

  test("global() matches what lives in no namespace", () => {
    expect(evaluate({ kind: "global" }, { role: "blocked" })).toBe(true);
    expect(evaluate({ kind: "global" }, { "projectcalico.org/namespace": "shop" })).toBe(false);
  });
});

const label = fc.constantFrom("a", "b", "c", "x.y/z-1");
const value = fc.constantFrom("", "u", "v", "uv", "vu", "it's");
const comparison = fc.constantFrom<Comparison>(
  "equals",
  "not-equals",
  "contains",
  "starts-with",
  "ends-with",
);
const atom = fc.oneof(
  fc.constant<Selector>({ kind: "all" }),
  label.map((label): Selector => ({ kind: "has", label })),
  fc.record({ kind: comparison, label, value }).map((s): Selector => s),
  fc
    .tuple(fc.constantFrom("in" as const, "not-in" as const), label, fc.array(value, { maxLength: 3 }))
    .map((t) => membership(...t)),
);
const { selector } = fc.letrec<{ selector: Selector }>((tie) => ({
  selector: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    atom,
    tie("selector").map((operand): Selector => ({ kind: "not", operand })),
    fc.array(tie("selector"), { minLength: 1, maxLength: 3 }).map(and),
    fc.array(tie("selector"), { minLength: 1, maxLength: 3 }).map(or),
  ),
}));
const labelSet: fc.Arbitrary<Labels> = fc.dictionary(label, value);

/** An evaluation that shares nothing with evaluate.ts: the set of all labels that match, by set algebra over strings. */
function naive(s: Selector, labels: Labels): boolean {
  const pairs = Object.entries(labels);
  const some = (name: string, test: (v: string) => boolean) =>
    pairs.filter(([k]) => k === name).some(([, v]) => test(v));
  const table: Record<Selector["kind"], () => boolean> = {
    all: () => true,
    global: () => !pairs.some(([k]) => k === "projectcalico.org/namespace"),
    not: () => s.kind === "not" && !naive(s.operand, labels),
    and: () => s.kind === "and" && s.operands.filter((o) => !naive(o, labels)).length === 0,
    or: () => s.kind === "or" && s.operands.filter((o) => naive(o, labels)).length > 0,
    has: () => s.kind === "has" && some(s.label, () => true),
    equals: () => s.kind === "equals" && some(s.label, (v) => v === s.value),
    "not-equals": () => s.kind === "not-equals" && !some(s.label, (v) => v === s.value),
    contains: () => s.kind === "contains" && some(s.label, (v) => v.indexOf(s.value) >= 0),
    "starts-with": () =>
      s.kind === "starts-with" && some(s.label, (v) => v.slice(0, s.value.length) === s.value),
    "ends-with": () =>
      s.kind === "ends-with" &&
      some(s.label, (v) => v.slice(v.length - s.value.length) === s.value && v.length >= s.value.length),
    in: () => s.kind === "in" && s.values.some((wanted) => some(s.label, (v) => v === wanted)),
    "not-in": () => s.kind === "not-in" && !s.values.some((wanted) => some(s.label, (v) => v === wanted)),
  };
  return table[s.kind]();
}

describe("properties", () => {
  test("the canonical text of a selector is parsed back to it", () => {
    fc.assert(
      fc.property(selector, (s) => expect(parseSelector(canonical(s))).toEqual(s)),
      { numRuns: 1000 },
    );
  });

  test("evaluate agrees with a naive evaluation", () => {
    fc.assert(
      fc.property(selector, labelSet, (s, l) => expect(evaluate(s, l)).toBe(naive(s, l))),
      { numRuns: 2000 },
    );
  });

  test("whatever matches meets the required label", () => {
    fc.assert(
      fc.property(selector, labelSet, (s, l) => {
        const required = requiredLabel(s);
        if (!required || !evaluate(s, l)) return;
        expect(Object.keys(l)).toContain(required.label);
        if (required.values) expect(required.values).toContain(l[required.label]);
      }),
      { numRuns: 2000 },
    );
  });

  test("SHA-256 is node's", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(Buffer.from(sha256(bytes)).toString("hex")).toBe(
          createHash("sha256").update(bytes).digest("hex"),
        );
      }),
    );
  });
});

test.each<[string, ReturnType<typeof requiredLabel>]>([
  ["all()", undefined],
  ["!has(a)", undefined],
  ["a != 'x'", undefined],
  ["a == 'x'", { label: "a", values: ["x"] }],
  ["a in {'x', 'y'}", { label: "a", values: ["x", "y"] }],
  ["a starts with 'x'", { label: "a" }],
  ["has(b) && a in {'x', 'y'} && c == 'z'", { label: "c", values: ["z"] }],
  ["a == 'x' || a == 'y'", { label: "a", values: ["x", "y"] }],
  ["a == 'x' || has(a)", { label: "a" }],
  ["a == 'x' || b == 'x'", undefined],
  ["a == 'x' || all()", undefined],
  ["a in {}", { label: "a", values: [] }],
])("the required label of %s", (text, expected) => {
  expect(requiredLabel(parseSelector(text))).toEqual(expected);
});

test("the id is stable, short, and the same however the selector was written", () => {
  expect(selectorId(parseSelector("a=='x'"))).toBe(selectorId(parseSelector(' (a == "x") ')));
  expect(selectorId(parseSelector("a=='x'"))).not.toBe(selectorId(parseSelector("a=='y'")));
  expect(selectorId(parseSelector("all()"))).toMatch(/^[a-z2-7]{20}$/);
});
