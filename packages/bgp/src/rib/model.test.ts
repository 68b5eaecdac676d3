/**
 * The RIB and its update groups against a naive model: an ordered list of whole routes for each prefix, decided on by
 * `decision.ts`, exported by `exportRoute`. Whatever happens, the Loc-RIB and what each member has heard are the model's.
 */
import { describe, expect, test } from "@jest/globals";
import { type Family, formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import fc from "fast-check";
import { type ExportPolicy, exporter, exportRoute } from "../policy/export.ts";
import { wireExporter } from "../policy/export-bytes.ts";
import { type ImportPolicy, importRoute } from "../policy/import.ts";
import { writeAttributes } from "../wire/attribute-codec.ts";
import type { Attributes } from "../wire/attributes.ts";
import { Framer } from "../wire/framer.ts";
import { readMessage } from "../wire/message.ts";
import { packPaths, packPrefixes, pathsOf } from "../wire/nlri.ts";
import { readUpdate } from "../wire/update.ts";
import { writeAnnouncements } from "../wire/write-update.ts";
import { decide } from "./decision.ts";
import type { Route, Source } from "./path.ts";
import { Rib } from "./rib.ts";
import { LearnedRoute, RouteStore } from "./route-store.ts";
import { UpdateGroup } from "./update-group.ts";

/** `npm run fuzz` takes longer. */
const long = process.env.MARGAY_FUZZ_SECONDS ? 20 : 1;
const seed = fc.readConfigureGlobal().seed;
const source = (n: number, kind: "ebgp" | "ibgp", client = false): Source => ({
  ...{ kind, name: `s${n}`, as: kind === "ibgp" ? 64512 : 65000 + n, bgpId: n, client },
  address: parseAddress(`10.0.0.${n}`),
});
const policyOf = (allowedLocalAs: number): ImportPolicy => ({
  ...{ localAs: 64512, bgpId: 99, clusterId: 7, allowedLocalAs },
  ownAddresses: [parseAddress("10.0.0.99")],
});

const u32 = fc.oneof(fc.nat(3), fc.constantFrom(64512, 65001, 0xffffffff));
const as = u32.map((n) => n || 5);
/** Attributes that mostly tie, and sometimes have what the short ways leave to the long ones. */
const attributesOf = (internal: boolean): fc.Arbitrary<Attributes> =>
  fc
    .record(
      {
        origin: fc.constantFrom("igp" as const, "incomplete" as const),
        asPath: fc.array(
          fc.record({
            kind: fc.constantFrom("sequence" as const, "sequence" as const, "set" as const),
            ases: fc.oneof(
              fc.array(as, { minLength: 1, maxLength: 3 }),
              fc.constant(new Array<number>(255).fill(9)),
            ),
          }),
          { maxLength: 2, size: "small" },
        ),
        nextHop: fc
          .constantFrom("10.0.0.1", "10.0.0.2", "10.9.9.9", "10.0.0.99")
          .map((text) => ({ address: parseAddress(text) })),
        med: fc.nat(2),
        communities: fc.array(fc.constantFrom(1, 2, 0xffff0000, 0xffffff01, 0xffff0006), { minLength: 1 }),
        largeCommunities: fc.constant([[1, 2, 3] as const]),
        onlyToCustomer: fc.constant(65001),
        aggregator: fc.constant({ as: 7, address: parseAddress("10.0.0.7") }),
        unknown: fc.constant([{ type: 99, value: Uint8Array.of(1) }]),
        ...(internal
          ? {
              localPref: fc.constantFrom(90, 100, 0xffffffff),
              originatorId: fc.constantFrom(3, 99),
              clusterList: fc.array(fc.constantFrom(7, 8), { minLength: 1, maxLength: 2 }),
            }
          : {}),
      },
      { requiredKeys: ["origin", "asPath", "nextHop"] },
    )
    .map((a) => a as Attributes);

const cost = (down: boolean) => (hop: { bits: bigint }) =>
  hop.bits === parseAddress("10.9.9.9").bits ? (down ? undefined : 5) : 1;

/** As a receiver reads it. */
const onTheWire = (attributes: Attributes, internal: boolean): Attributes | undefined => {
  const nlri = packPrefixes(4, [parsePrefix("10.0.0.0/8")]);
  const [body] = writeAnnouncements({ nlri, attributes }, { as4: true, internal });
  const context = { as4: true, internal, families: [4] as Family[] };
  return readUpdate(body!, context).announced[0]?.attributes; // one prefix, one body
};

describe("short ways say what the long ones say", () => {
  const peers = [source(1, "ebgp"), source(3, "ibgp", true), source(4, "ibgp")];
  const hop = { address: parseAddress("10.0.0.99") };
  const base: ExportPolicy = {
    ...{ to: "ebgp", localAs: 64512, client: false, nextHop: "auto", self: { 4: hop } },
  };
  const policies: readonly ExportPolicy[] = [
    base,
    { ...base, nextHop: "keep" },
    { ...base, shared: parsePrefix("10.0.0.0/30") },
    { ...base, role: "provider" },
    { ...base, trueAs: 64999 },
    { ...base, self: {} },
    { ...base, extendedNextHop: true, self: { 6: { address: parseAddress("fd00::9") } } },
    { ...base, to: "ibgp" },
    { ...base, to: "ibgp", client: true },
    { ...base, to: "ibgp", client: true, clusterId: 7, nextHop: "self" },
    { ...base, to: "ibgp", clusterId: 7 },
  ];

  const minutes = 600_000; // milliseconds
  test(
    "import and export from bytes",
    () => {
      const cases = fc
        .constantFrom(...peers)
        .chain((from) =>
          fc.tuple(
            fc.constant(from),
            attributesOf(from.kind === "ibgp"),
            fc.constantFrom(...policies),
            fc.nat(1),
          ),
        );
      fc.assert(
        fc.property(cases, ([from, attributes, policy, allowed]) => {
          const internal = from.kind === "ibgp";
          const nlri = packPrefixes(4, [parsePrefix("10.1.0.0/16")]);
          const [body] = writeAnnouncements({ nlri, attributes }, { as4: true, internal });
          const context = { as4: true, internal, families: [4] as Family[] };
          const [read] = readUpdate(body!, context).announced; // one prefix, one body
          if (!read) return;
          const route = new RouteStore(from, policyOf(allowed)).routeOf(read.list);
          const judged = importRoute(policyOf(allowed), from, read.attributes);
          const long: Route = { source: from, received: read.attributes, ...judged };
          expect([route.received, route.attributes, route.refused]).toEqual([
            ...[long.received, long.attributes, long.refused],
          ]);
          const write = { as4: true, internal: policy.to === "ibgp" };
          const told = wireExporter(policy, 4, write)(route);
          const wanted = exporter(policy, 4)(long);
          const bytes = told && ("bytes" in told ? told.bytes : writeAttributes(told, write));
          expect(bytes && [...bytes]).toEqual(wanted && [...writeAttributes(wanted, write)]);
          expect(told?.nextHop).toEqual(wanted?.nextHop);
        }),
        { seed, numRuns: 1000 * long },
      );
    },
    minutes,
  );
});

interface Entry {
  source: Source;
  readonly pathId: number;
  route: Route;
}

type PeerEvent = "down" | "restart" | "back" | "sweep" | "judge";

type Action =
  | { kind: "announce"; from: number; prefix: number; pathId: number; attributes: Attributes }
  | { kind: "withdraw"; from: number; prefix: number; pathId: number }
  | { kind: PeerEvent; from: number }
  | { kind: "cost"; down: boolean }
  | { kind: "join" | "leave" | "refresh"; member: number }
  | { kind: "turn"; ready: boolean[]; most: number };

const kinds = ["ebgp", "ebgp", "ibgp", "ibgp"] as const;
const from = fc.nat(kinds.length - 1);
const spot = { prefix: fc.nat(3), pathId: fc.nat(2) };
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: from.chain((n) =>
      fc.record({
        ...{ kind: fc.constant("announce" as const), from: fc.constant(n), ...spot },
        attributes: attributesOf(kinds[n] === "ibgp"),
      }),
    ),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("withdraw" as const), from, ...spot }) },
  fc.record({ kind: fc.constantFrom("down", "restart", "back", "sweep", "judge"), from }),
  fc.record({ kind: fc.constant("cost" as const), down: fc.boolean() }),
  fc.record({ kind: fc.constantFrom("join", "leave", "refresh"), member: fc.nat(5) }),
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("turn" as const),
      ready: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      most: fc.constantFrom(1, 2, Number.POSITIVE_INFINITY), // some turns leave prefixes undecided
    }),
  },
);

/** Sources 2 and 3 (iBGP, the one a client) have path identifiers; members 0-3 are the sources, 4 and 5 only listen. */
class Scene {
  readonly #hop = { address: parseAddress("10.0.0.99") };
  readonly #rib: Rib;
  #down = false;
  #allowed = 0;
  readonly #sources = kinds.map((kind, i) => source(i + 1, kind, i === 2));
  readonly #members = [...this.#sources, source(5, "ebgp"), source(6, "ibgp", true)];
  readonly #stores = this.#sources.map((s) => new RouteStore(s, policyOf(0)));
  readonly #model = new Map<string, Entry[]>();
  readonly #stale = new Map<Source, Set<string>>();
  readonly #heard = new Map<number, Map<string, Attributes>>();
  readonly #groups: { group: UpdateGroup; policy: ExportPolicy; max?: number; members: number[] }[];

  constructor() {
    this.#rib = new Rib({ family: 4, cost: (hop) => cost(this.#down)(hop) });
    this.#rib.tellsAll = true;
    const base = { localAs: 64512, client: false, nextHop: "auto", self: { 4: this.#hop } } as const;
    const reflector = { ...base, to: "ibgp", client: true, clusterId: 7 } as const;
    this.#groups = [
      this.#group({ ...base, to: "ebgp" }, [0, 1], undefined),
      this.#group({ ...base, to: "ebgp", trueAs: 64999 }, [4], undefined),
      this.#group(reflector, [2], 2),
      this.#group({ ...reflector, client: false }, [3], undefined),
      this.#group(reflector, [5], 99),
    ];
  }

  #group(policy: ExportPolicy, members: number[], max: number | undefined) {
    const write = { as4: true, internal: policy.to === "ibgp" };
    const told = wireExporter(policy, 4, write);
    const { prefixes, slots } = this.#rib;
    const group = new UpdateGroup({
      ...(max === undefined ? { prefixes } : { prefixes: slots, paths: { max, slots } }),
      write,
      exportRoute: (_id, route) => told(route),
    });
    return { group, policy, members, ...(max === undefined ? {} : { max }) };
  }

  act(a: Action): void {
    if (a.kind === "announce") this.#announce(a.from, { ...a, pathId: this.#pathId(a) });
    else if (a.kind === "withdraw") this.#withdraw(a.from, `10.${a.prefix}.0.0/16`, this.#pathId(a));
    else if (a.kind === "turn") this.#turn(a.ready, a.most);
    else if ("member" in a) this.#member(a.kind, a.member);
    else if (a.kind !== "cost") this.#peer(a.kind, a.from);
    else {
      this.#down = a.down;
      this.#rib.costsChanged();
    }
  }

  #pathId = (a: { from: number; pathId: number }): number => (kinds[a.from] === "ibgp" ? a.pathId : 0);

  #announce(n: number, { prefix, pathId, attributes }: Extract<Action, { kind: "announce" }>): void {
    const internal = kinds[n] === "ibgp";
    const text = `10.${prefix}.0.0/16`;
    const nlri = internal
      ? packPaths(4, [{ prefix: parsePrefix(text), pathId }])
      : packPrefixes(4, [parsePrefix(text)]);
    const from = this.#sources[n]!; // nat(3)
    const context = { as4: true, internal, families: [4] as Family[], addPath: internal ? [4 as const] : [] };
    for (const body of writeAnnouncements({ nlri, attributes }, context))
      for (const { nlri: run, list } of readUpdate(body, context).announced) {
        const route = this.#stores[n]!.routeOf(list);
        this.#rib.announce(run, route);
        route.release();
        const judged = importRoute(policyOf(this.#allowed), from, list.attributes);
        this.#place(text, {
          source: from,
          pathId,
          route: { source: from, received: list.attributes, ...judged },
        });
      }
  }

  #place(text: string, entry: Entry): void {
    const entries = this.#model.get(text) ?? [];
    const at = entries.findIndex((e) => e.source === entry.source && e.pathId === entry.pathId);
    if (at < 0) entries.push(entry);
    else entries[at] = entry;
    this.#model.set(text, entries);
    this.#stale.get(entry.source)?.delete(`${text}#${entry.pathId}`);
  }

  #withdraw(n: number, text: string, pathId: number): void {
    const from = this.#sources[n]!; // nat(3)
    this.#rib.remove(from, this.#rib.prefixes.add(parsePrefix(text)), pathId);
    this.#drop(from, text, pathId);
    this.#stale.get(from)?.delete(`${text}#${pathId}`);
  }

  #drop(from: Source, text: string, pathId?: number): void {
    const entries = this.#model.get(text) ?? [];
    this.#model.set(
      text,
      entries.filter((e) => e.source !== from || (pathId !== undefined && e.pathId !== pathId)),
    );
  }

  #peer(kind: PeerEvent, n: number): void {
    const from = this.#sources[n]!; // nat(3)
    if (kind === "down") {
      this.#rib.forget(from);
      for (const text of this.#model.keys()) this.#drop(from, text);
      this.#stale.delete(from);
    } else if (kind === "restart") {
      this.#rib.markStale(from);
      const all = [...this.#model].flatMap(([text, entries]) =>
        entries.filter((e) => e.source === from).map((e) => `${text}#${e.pathId}`),
      );
      this.#stale.set(from, new Set(all));
    } else if (kind === "sweep") {
      const stale = this.#stale.get(from) ?? new Set();
      expect(this.#rib.sweepStale(from)).toBe(stale.size);
      for (const key of stale) {
        const [text = "", pathId] = key.split("#");
        this.#drop(from, text, Number(pathId));
      }
      this.#stale.delete(from);
    } else if (kind === "back") this.#rename(n);
    else this.#judgeAgain();
  }

  /** The session came back: another source object, another store. As a member it is new too. */
  #rename(n: number): void {
    const before = this.#sources[n]!; // nat(3)
    const now = { ...before };
    this.#member("leave", n);
    this.#rib.rename(before, now);
    this.#sources[n] = now;
    this.#members[n] = now;
    this.#stores[n] = new RouteStore(now, policyOf(this.#allowed));
    const stale = this.#stale.get(before);
    if (stale) this.#stale.set(now, stale);
    this.#stale.delete(before);
    for (const [text, entries] of this.#model) {
      const moved = entries.filter((e) => e.source === before);
      const others = entries.filter((e) => e.source !== before);
      const renamed = moved.map((e) => ({ ...e, source: now, route: { ...e.route, source: now } }));
      this.#model.set(text, [...others, ...renamed]);
    }
  }

  /** Soft reconfiguration: our AS may, or may not, stand in the path. */
  #judgeAgain(): void {
    this.#allowed = 1 - this.#allowed;
    for (const [i, from] of this.#sources.entries()) {
      const store = new RouteStore(from, policyOf(this.#allowed));
      this.#stores[i] = store;
      this.#rib.eachOf(from, (id, route, pathId) => {
        if (this.#rib.isStale(from, id, pathId) || !(route instanceof LearnedRoute)) return;
        const again = store.routeOf(route.list);
        this.#rib.put(id, again, pathId);
        again.release();
      });
      for (const [text, entries] of this.#model)
        for (const e of entries)
          if (e.source === from && !this.#stale.get(from)?.has(`${text}#${e.pathId}`))
            e.route = {
              ...{ source: from, received: e.route.received },
              ...importRoute(policyOf(this.#allowed), from, e.route.received),
            };
    }
  }

  #member(kind: "join" | "leave" | "refresh", n: number): void {
    const { group } = this.#groups.find((g) => g.members.includes(n))!; // every member has one
    const member = this.#members[n]!; // nat(5)
    if (kind === "leave") {
      group.leave(member);
      this.#heard.delete(n);
    } else if (kind === "refresh") group.refresh(member, { marked: false });
    else {
      group.join(member, { endOfRib: true });
      if (!this.#heard.has(n)) this.#heard.set(n, new Map());
    }
  }

  #turn(ready: readonly boolean[], most?: number): void {
    const { best, others } = this.#rib.decide(most);
    for (const { group, max } of this.#groups)
      for (const id of [...best, ...others])
        if (max === undefined) group.put(id, this.#rib.best(id));
        else group.putPaths(id, this.#rib.ranked(id, max));
    for (const { group, policy, max } of this.#groups)
      for (const { bytes, to } of group.drain((m) => ready[this.#members.indexOf(m)] ?? false))
        for (const member of to) this.#hear(this.#members.indexOf(member), bytes, policy, max !== undefined);
  }

  #hear(n: number, bytes: Uint8Array, policy: ExportPolicy, hasPaths: boolean): void {
    const table = this.#heard.get(n)!; // joined
    for (const frame of new Framer().push(bytes)) {
      const m = readMessage(frame, {
        ...{ as4: true, internal: policy.to === "ibgp", families: [4] },
        addPath: hasPaths ? [4] : [],
      });
      if (m.kind !== "update") throw new Error(m.kind);
      expect(m.problems).toEqual([]);
      const key = (p: { prefix: Parameters<typeof formatPrefix>[0]; pathId: number }) =>
        `${formatPrefix(p.prefix)}#${p.pathId}`;
      for (const run of m.withdrawn) for (const p of pathsOf(run)) table.delete(key(p));
      for (const { nlri, attributes } of m.announced)
        for (const p of pathsOf(nlri)) table.set(key(p), attributes);
    }
  }

  /** Everything is told; then all must be as the model has it. */
  check(): void {
    this.#turn([true, true, true, true, true, true]);
    for (let i = 0; i < 3; i++) this.#turn([true, true, true, true, true, true]);
    for (const [text, entries] of this.#model) {
      const id = this.#rib.prefixes.find(parsePrefix(text));
      const routes = entries.map((e) => e.route);
      const { best, equal } = decide(routes, cost(this.#down));
      expect(whole(id === undefined ? undefined : this.#rib.best(id))).toEqual(whole(best));
      expect((id === undefined ? [] : this.#rib.equal(id)).map(whole)).toEqual(equal.map(whole));
    }
    for (const [n, from] of this.#sources.entries()) {
      const own = [...this.#model.values()].flat().filter((e) => e.source === from);
      expect([n, this.#rib.counts(from).received, this.#rib.counts(from).accepted]).toEqual([
        ...[n, own.length, own.filter((e) => e.route.attributes).length],
      ]);
    }
    for (const [n, table] of this.#heard) expect([n, this.#sorted(table)]).toEqual([n, this.#wanted(n)]);
  }

  #sorted = (table: ReadonlyMap<string, Attributes>): string[] =>
    [...table].map(([key, a]) => `${key.replace(/#.*/, "")} ${textOf(a)}`).toSorted();

  #wanted(n: number): string[] {
    const { policy, max = 1 } = this.#groups.find((g) => g.members.includes(n))!; // every member has one
    return [...this.#model]
      .flatMap(([text, entries]) =>
        this.#ranked(
          entries.map((e) => e.route),
          max,
        ).flatMap((route) => {
          const { attributes } = route;
          if (!attributes || route.source === this.#members[n]) return [];
          const out = exportRoute(policy, { ...route, attributes }, 4);
          if (!("attributes" in out)) return [];
          return [`${text} ${textOf(onTheWire(out.attributes, policy.to === "ibgp"))}`];
        }),
      )
      .toSorted();
  }

  #ranked(routes: readonly Route[], max: number): Route[] {
    const { best } = max > 0 ? decide(routes, cost(this.#down)) : {};
    return best
      ? [
          best,
          ...this.#ranked(
            routes.filter((r) => r !== best),
            max - 1,
          ),
        ]
      : [];
  }
}

const whole = (route: Route | undefined) =>
  route && { from: route.source.name, received: route.received, attributes: route.attributes };

const textOf = (value: unknown): string =>
  JSON.stringify(value, (_key, v: unknown) => (typeof v === "bigint" ? `${v}` : v));

test("whatever peers say, lose, take back and ask: all tables are the model's", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80, size: "max" }), (actions) => {
      const scene = new Scene();
      for (const n of [0, 3, 4, 5]) scene.act({ kind: "join", member: n });
      for (const one of actions) scene.act(one);
      scene.check();
    }),
    { seed, numRuns: 120 * long },
  );
}, 600_000);
