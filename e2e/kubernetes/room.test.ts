import { expect, test } from "@jest/globals";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { tooLittle } from "./room.mjs";

const GiB = 2 ** 30;
const machine = ({ memory = 20, disk = 20, cache = 20 }) => ({
  memory: () => memory * GiB,
  free: (folder: string) => (folder === "/cache" ? cache : disk) * GiB,
});

test.each([
  ["room for all", {}, "/cache", undefined],
  ["a small machine", { memory: 2 }, "/cache", /3.0 GiB of memory are needed, and 2.0 GiB are free/],
  ["a full disk below the tree", { disk: 0.5 }, undefined, /needed below \S+, and 0.5 GiB are free/],
  ["no place to build in", { cache: 3 }, "/cache", /needed below \/cache, and 3.0 GiB are free/],
  ["no place to build in, and nothing to build", { cache: 3 }, undefined, undefined],
])("%s", (_why, has, build, expected) => {
  const said = tooLittle(build, machine(has));
  if (expected) expect(said).toMatch(expected);
  else expect(said).toBeUndefined();
});
