import { expect, test } from "@jest/globals";
import { type IPPool, parse } from "@margay/api";
import { familiesOf } from "./pool-families.ts";

const pool = (cidr: string, more: object = {}): IPPool =>
  parse({
    ...{ apiVersion: "margay.dev/v1", kind: "IPPool", metadata: { name: "p" } },
    spec: { cidr, ...more },
  }).resource as IPPool; // of the kind just said
const four = pool("10.0.0.0/16");
const six = (more: object) => pool("fd00::/64", more);
const node = { rack: "r1" };

test.each<[why: string, pool: IPPool, namespace: Record<string, string> | undefined, families: number[]]>([
  ["a pool for everybody", six({}), { team: "a" }, [4, 6]],
  ["a pool of other namespaces gives nothing", six({ namespaceSelector: "team == 'b'" }), { team: "a" }, [4]],
  ["a pool of the namespace", six({ namespaceSelector: "team == 'a'" }), { team: "a" }, [4, 6]],
  [
    "asked for no namespace: whatever some may have",
    six({ namespaceSelector: "team == 'b'" }),
    undefined,
    [4, 6],
  ],
  ["a pool of other nodes", six({ nodeSelector: "rack == 'r2'" }), {}, [4]],
  ["a disabled pool", six({ disabled: true }), {}, [4]],
  ["a pool whose addresses must be asked for", six({ assignmentMode: "Manual" }), {}, [4]],
  ["a pool for tunnels", six({ allowedUses: ["Tunnel"] }), {}, [4]],
])("%s", (_why, second, namespace, families) => {
  expect(familiesOf([four, second], { node, ...(namespace && { namespace }) })).toEqual(families);
});
