/** Nexthop objects of one protocol, and the routes that lean on them, in the kernel (`sharing.ts` decides). */
import { formatPrefix } from "@margay/net";
import { NetlinkError } from "./error.ts";
import { flags } from "./message.ts";
import type { Netlink } from "./netlink.ts";
import { delNexthop, dumpNexthops, type NexthopObject, newNexthop, readNexthop } from "./nexthop-message.ts";
import { formatNexthop, type Nexthop, type Route } from "./route.ts";
import { indexesOf, type RefusedRoute } from "./routes.ts";
import { leaningOnNothing, type Shared, Sharing, type SharingInputs } from "./sharing.ts";

export interface SharedHopsOptions {
  readonly protocol: number;
  /** From so many routes with the same next hops on. */
  readonly from: number;
  /** Of a kernel without such objects (Linux before 5.3): all routes name their next hops. */
  readonly onUnsupported?: (() => void) | undefined;
}

/** What the routes are kept in. */
export type Holding = Pick<SharingInputs, "held" | "heldKeys"> & {
  write(routes: readonly Route[]): Promise<readonly RefusedRoute[]>;
  /** The kernel has this route now, since its object says so. */
  took(key: string, route: Route): void;
};

/** Ours are sought from here on: ids that somebody chose by hand, or the kernel, are small. */
const firstId = 0x8f00_0000;
const lastId = 0x8fff_ffff;

export class SharedHops {
  readonly #nl: Netlink;
  readonly #options: SharedHopsOptions;
  readonly #sharing: Sharing;
  /** Objects of one next hop, of ours: id by what it says. */
  readonly #hops = new Map<string, number>();
  /** Objects of ours for routes to lean on, each with the next hops that make it up. */
  readonly #groups = new Map<number, readonly Nexthop[]>();
  /** Anybody's, as far as known. */
  readonly #taken = new Set<number>();
  readonly #stale = new Set<number>();
  /** The last that was tried. */
  #id = lastId;
  #isSupported = true;

  constructor(nl: Netlink, options: SharedHopsOptions) {
    this.#nl = nl;
    this.#options = options;
    this.#sharing = new Sharing(options.from);
  }

  /** Reads all objects anew. `foreign` are leant upon by routes that are not ours: they are nobody's to change or delete here. */
  async read(foreign: ReadonlySet<number>): Promise<void> {
    const objects = await this.#list();
    for (const known of [this.#hops, this.#groups, this.#taken, this.#stale]) known.clear();
    this.#sharing.clear();
    const hops = new Map(objects.flatMap((o) => ("hop" in o ? [[o.id, o.hop] as const] : [])));
    const isOurs = ({ id, protocol }: NexthopObject) =>
      protocol === this.#options.protocol && id >= firstId && id <= lastId && !foreign.has(id);
    const inForeign = new Set(
      objects.flatMap((o) => ("group" in o && !isOurs(o) ? o.group.map(({ id }) => id) : [])),
    );
    for (const object of objects) {
      this.#taken.add(object.id);
      if (!isOurs(object)) continue;
      if ("group" in object)
        this.#says({
          id: object.id,
          hops: object.group.map(({ id, weight }) => ({ ...hops.get(id), ...(weight > 1 && { weight }) })),
        });
      else if (!inForeign.has(object.id)) this.#hops.set(textOf(object.hop), object.id);
    }
  }

  /** A route as it is, also where the kernel names the object alone (net.ipv4.nexthop_compat_mode=0). */
  expanded(route: Route): Route {
    const hops = this.#sharing.hops(route.nhid);
    return hops ? { ...route, nexthops: hops } : route;
  }

  moved(before: Route | undefined, now: Route | undefined): void {
    this.#sharing.moved(before, now);
  }

  async put(
    wanted: ReadonlyMap<string, Route>,
    { held, heldKeys, write, took }: Holding,
  ): Promise<readonly RefusedRoute[]> {
    if (!this.#isSupported) return write([...wanted.values()]);
    const plan = this.#sharing.plan({
      wanted,
      held,
      heldKeys,
      stale: this.#stale,
      freeId: () => this.#freeId(),
    });
    const stale = new Set(this.#stale);
    this.#stale.clear();
    const failed = await this.#write(plan.make, flags.create | flags.exclusive);
    const lean = (routes: readonly Route[]) =>
      routes.map((route) => (failed.has(route.nhid ?? 0) ? leaningOnNothing(route) : route));
    const refused = [...(await write(lean(plan.before)))];
    /** Objects that routes lean on still which must not go along. */
    const stuck = new Set(refused.map(({ route }) => held(formatPrefix(route.dst))?.nhid));
    const change = plan.change.filter(({ id }) => !stuck.has(id));
    const again = [...this.#groups].flatMap(([id, hops]) =>
      stuck.has(id) && stale.has(id) ? [{ id, hops }] : [],
    );
    const unchanged = await this.#write([...change, ...again], flags.replace);
    for (const { id } of plan.change) if (stuck.has(id) || unchanged.has(id)) failed.add(id);
    for (const { id, along } of plan.change)
      if (!failed.has(id)) for (const [key, route] of along) took(key, { ...route, nhid: id });
    const left = plan.change.flatMap(({ id, along }) => (failed.has(id) ? [...along.values()] : []));
    refused.push(...(await write([...lean(plan.after), ...left])));
    await this.collect();
    return refused;
  }

  /** Deletes what no route leans on. */
  async collect(): Promise<void> {
    const groups = this.#sharing.unused;
    for (const id of groups) this.#forget(id);
    const used = new Set([...this.#groups.values()].flat().map(textOf));
    const hops = [...this.#hops].filter(([text]) => !used.has(text));
    for (const [text, id] of hops) {
      this.#hops.delete(text);
      this.#taken.delete(id);
    }
    const gone = [...groups, ...hops.map(([, id]) => id)];
    if (gone.length === 0) return;
    const failures = await this.#nl.requests.transact(gone.map(delNexthop));
    const failure = failures.find(({ error }) => error.code !== "ENOENT");
    if (failure) throw failure.error;
  }

  /**
   * Takes in what somebody else did to an object. Answers with the one of ours that it was about, if any: the routes that lean on it
   * are gone with it, or are to say again what they said (`isGone`).
   */
  heard(change: "new" | "deleted", object: NexthopObject): { id: number; isGone: boolean } | undefined {
    const { id } = object;
    if (change === "new") this.#taken.add(id);
    else this.#taken.delete(id);
    if (this.#groups.has(id)) {
      if (change === "deleted") this.#forget(id);
      else this.#stale.add(id);
      return { id, isGone: change === "deleted" };
    }
    const [text] = [...this.#hops].find(([, hop]) => hop === id) ?? [];
    if (text === undefined) return undefined;
    this.#hops.delete(text); // another is made for it
    if (change === "new" && "hop" in object) this.#hops.set(textOf(object.hop), id);
    const groups = [...this.#groups].filter(([, hops]) => hops.some((hop) => textOf(hop) === text));
    for (const [group] of groups) this.#stale.add(group);
    return groups[0] && { id: groups[0][0], isGone: false };
  }

  async #list(): Promise<NexthopObject[]> {
    const names = await this.#nl.names();
    try {
      return await this.#nl.requests.dump(dumpNexthops(), (message) => readNexthop(message, names));
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== "EOPNOTSUPP") throw error;
      if (this.#isSupported) this.#options.onUnsupported?.();
      this.#isSupported = false;
      return [];
    }
  }

  /** Writes objects, first the next hops that they are made of. @returns those that the kernel refused */
  async #write(objects: readonly Shared[], how: number): Promise<Set<number>> {
    if (objects.length === 0) return new Set();
    const { protocol } = this.#options;
    const hops = objects.flatMap((object) => object.hops);
    const names = await indexesOf(this.#nl, hops);
    const missing = new Map(
      hops.filter((hop) => !this.#hops.has(textOf(hop))).map((hop) => [textOf(hop), hop]),
    );
    const singles = [...missing].flatMap(([text, { weight: _, ...hop }]) =>
      names.index(hop.dev ?? "") === undefined ? [] : [{ id: this.#freeId(), protocol, hop, text }],
    );
    const refusedHops = await this.#send(singles, names, flags.create | flags.exclusive);
    for (const { id, text } of singles) if (!refusedHops.has(id)) this.#hops.set(text, id);
    const ready = objects.flatMap(({ id, hops }) => {
      const group = hops.flatMap((hop) => ({
        id: this.#hops.get(textOf(hop)) ?? 0,
        weight: hop.weight ?? 1,
      }));
      return group.some((member) => member.id === 0) ? [] : [{ id, protocol, group }];
    });
    const refused = await this.#send(ready, names, how);
    const done = new Set(ready.map(({ id }) => id).filter((id) => !refused.has(id)));
    for (const object of objects) if (done.has(object.id)) this.#says(object);
    return new Set(objects.map(({ id }) => id).filter((id) => !done.has(id)));
  }

  async #send(objects: readonly NexthopObject[], names: Parameters<typeof newNexthop>[1], how: number) {
    const failures = await this.#nl.requests.transact(
      objects.map((object) => newNexthop(object, names, how)),
    );
    const refused = new Set(failures.flatMap(({ index }) => objects[index]?.id ?? []));
    for (const { id } of objects) if (!refused.has(id)) this.#taken.add(id);
    return refused;
  }

  #says(object: Shared): void {
    this.#groups.set(object.id, object.hops);
    this.#sharing.says(object);
  }

  #forget(id: number): void {
    this.#groups.delete(id);
    this.#taken.delete(id);
    this.#stale.delete(id);
    this.#sharing.gone(id);
  }

  /** Another one each time: it may be refused as somebody's. */
  #freeId(): number {
    do this.#id = this.#id === lastId ? firstId : this.#id + 1;
    while (this.#taken.has(this.#id));
    return this.#id;
  }
}

/** Without its weight, which is the group's. */
const textOf = ({ weight: _, ...hop }: Nexthop): string => formatNexthop(hop).join(" ");
