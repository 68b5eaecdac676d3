import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import * as bgp from "./index.ts";

/** The example's own text, without its types and imports: what the README shows is what runs here. */
function example(): (capture: Uint8Array) => Iterable<string> {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const code = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  const body = code
    .replace(/^import .*$/gm, "")
    .replace("export ", "return ")
    .replace("(capture: Uint8Array): Generator<string>", "(capture)");
  return new Function("formatAsPath", "Framer", "prefixesOf", "readMessage", "formatPrefix", body)(
    bgp.formatAsPath,
    bgp.Framer,
    bgp.prefixesOf,
    bgp.readMessage,
    formatPrefix,
  ) as (capture: Uint8Array) => Iterable<string>; // the README's own signature
}

test("the README's example decodes a capture", () => {
  const [body] = bgp.writeAnnouncements(
    {
      nlri: bgp.packPrefixes(4, [parsePrefix("10.244.1.0/26"), parsePrefix("10.244.2.0/26")]),
      attributes: {
        origin: "igp",
        asPath: [{ kind: "sequence", ases: [64512] }],
        nextHop: { address: parseAddress("172.20.0.11") },
      },
    },
    { as4: true, internal: false },
  );
  const capture = Uint8Array.from([
    ...bgp.writeMessage({ kind: "keepalive" }),
    ...bgp.frame("update", body!),
  ]); // one was asked for
  expect([...example()(capture)]).toEqual([
    "keepalive",
    "10.244.1.0/26 via AS 64512",
    "10.244.2.0/26 via AS 64512",
  ]);
});
