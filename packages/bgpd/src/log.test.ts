import { expect, test } from "@jest/globals";
import { type Log, sparing } from "./log.ts";

test("ten of a kind and peer in a minute, whoever makes them happen; the last says so", () => {
  let now = 0;
  const said: string[] = [];
  const note = ({ peer = "" }: { peer?: string }, text: string) => said.push(`${peer} ${text}`);
  const log: Log = sparing({ info: note, warn: note, debug: note }, () => now);
  const strangers = () => {
    for (let i = 0; i < 1000; i++) log.info({ event: "refused", from: `10.0.0.${i % 250}` }, "stranger");
    return said.splice(0);
  };
  const ten = [...Array(9).fill(" stranger"), " stranger; more of these are not said for a minute"];
  expect(strangers()).toEqual(ten);
  log.warn({ event: "refused", peer: "a" }, "known");
  log.warn({ event: "refused", peer: "b" }, "known");
  log.info({ event: "other" }, "thing");
  log.warn({ event: "refused" }, "a warning is no news");
  expect(said.splice(0)).toEqual(["a known", "b known", " thing", " a warning is no news"]);
  now = 59_999;
  expect(strangers()).toEqual([]);
  now = 60_000;
  expect(strangers()).toEqual(ten);
});

test("peers that came by themselves share their network's ten: addresses are many", () => {
  const said: object[] = [];
  const note = (fields: object) => void said.push(fields);
  const log = sparing({ info: note, warn: note, debug: note }, () => 0);
  for (let i = 0; i < 1000; i++)
    log.info({ event: "established", peer: `10.0.0.${i}`, range: "10.0.0.0/8" }, "up");
  expect(said).toHaveLength(10);
  log.info({ event: "established", peer: "10.0.0.0" }, "up");
  expect(said).toHaveLength(11);
});
