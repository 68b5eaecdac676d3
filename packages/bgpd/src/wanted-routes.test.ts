import { expect, test } from "@jest/globals";
import { parsePrefix } from "@margay/net";
import type { Route } from "@margay/netlink";
import fc from "fast-check";
import { WantedRoutes } from "./wanted-routes.ts";

const route = (metric: number): Route => ({
  ...{ dst: parsePrefix("10.0.0.0/24"), protocol: 143, type: "unicast", metric, nexthops: [] },
});
const key = fc.constantFrom("a", "b", "c", "d");
const routes = fc.dictionary(key, fc.nat(3).map(route)).map((o) => new Map(Object.entries(o)));
const course = fc.array(
  fc.oneof(fc.tuple(key, fc.option(fc.nat(3).map(route), { nil: undefined })), fc.constant("release")),
);

test("wanted routes stand in front of what an earlier process left, which shows again without them until it is released", () => {
  fc.assert(
    fc.property(routes, course, (left, steps) => {
      const both = new WantedRoutes();
      both.keep(left);
      let old: ReadonlyMap<string, Route> = left;
      const wanted = new Map<string, Route>();
      for (const step of steps) {
        if (step === "release") {
          both.release();
          old = new Map();
        } else {
          const [key, route] = step as [string, Route | undefined];
          both.set(key, route);
          if (route) wanted.set(key, route);
          else wanted.delete(key);
        }
        expect(sorted(both.all)).toEqual(sorted(new Map([...old, ...wanted])));
        expect(both.size).toBe(wanted.size);
        expect(both.hasOld).toBe(old.size > 0);
        for (const key of ["a", "b", "c", "d"]) expect(both.get(key)).toBe(wanted.get(key));
      }
    }),
  );
});

const sorted = (map: ReadonlyMap<string, Route>) => [...map].toSorted(([a], [b]) => a.localeCompare(b));
