import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";

const row = /^\| ([^|]+) \| [^|]+ \| `([^`]+)` `([^`]+)` \| `([^`]+)` "([^"]+)" \|$/;
const page = readFileSync(new URL("../../../docs/rfc/bgp.md", import.meta.url), "utf8");
const lines = page.split("\n").filter((line) => line.startsWith("| ") && !/^\| (Clause|---)/.test(line));
const text = (path: string): string =>
  readFileSync(
    new URL(path.startsWith("bgpd:") ? `../../bgpd/src/${path.slice(5)}` : `./${path}`, import.meta.url),
    "utf8",
  );

test.each(lines)("%s", (line) => {
  const [, , file = "?", name = "?", testFile = "?", title = "?"] = row.exec(line) ?? [];
  expect(text(file)).toMatch(new RegExp(`\\b${name}\\b`));
  expect(text(testFile)).toContain(title);
});

test("the page has rows", () => expect(lines.length).toBeGreaterThan(50));
