import { type Address, formatAddress, parseAddress } from "@margay/net";
import { connectionsOf, PacketQueue } from "@margay/netlink";
import { DNS_QUEUE } from "../render/dns-answers.ts";
import { DomainJournal } from "./journal.ts";
import { type Addresses, LearntDomains, type Meant } from "./learnt.ts";
import { type DnsAnswer, DnsError, readDnsAnswer } from "./message.ts";

export interface DomainsOptions {
  readonly runDir: string;
  /** Where a domain stands in the rules of this node. */
  readonly meant: (domain: string) => Meant | undefined;
  /** A domain has these addresses now. */
  readonly onChange: (domain: string, addresses: readonly Address[]) => void;
  /** Resolves once what changed is in the kernel, or soon. */
  readonly settled: () => Promise<void>;
  /** An answer that could not be read, or addresses that had no room. */
  readonly onRefused: (why: DnsError["code"] | "no-room", count: number) => void;
  /** Answers are not seen for so long, or what was learnt could not be written down. */
  readonly onError: (error: unknown, retryInMs: number) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Answers that wait for the kernel at a time, and bytes of each (RFC 6891 §6.2.5 counts on 4096). */
const MOST_WAITING = 512;
const MOST_BYTES = 8192;
const REOPEN_MS = { first: 1000, longest: 60_000 } as const;

/**
 * The addresses of the domains that rules name, by the answers that DNS gives to workloads (ADR 21):
 *
 *     answer ─► rule ─► queue ─► readDnsAnswer ─► LearntDomains ─► journal ─► Calc ─► sets in the kernel ─► the answer goes on
 *
 * What nobody means goes on at once. Without this process all goes on unseen.
 */
export class Domains {
  readonly #options: DomainsOptions;
  readonly #journal: DomainJournal;
  readonly #learnt = new LearntDomains();
  #queue: PacketQueue | undefined;
  /** Some are in the journal more than once. */
  #isLonger = false;
  #reopening: NodeJS.Timeout | undefined;
  #reopenMs: number = REOPEN_MS.first;

  constructor(options: DomainsOptions) {
    this.#options = options;
    this.#journal = new DomainJournal(options.runDir);
  }

  get all(): ReadonlyMap<string, Addresses> {
    return this.#learnt.all;
  }

  /** What the agent before this one knew, as far as rules mean it. */
  restore(): void {
    const now = this.#options.now();
    for (const [domain, text, until] of this.#written()) {
      const meant = this.#options.meant(domain);
      const addresses = [{ address: parseAddress(text), ttlSeconds: (until - now) / 1000 }];
      if (meant) this.#learnt.learn(domain, addresses, { meant, now });
    }
    for (const domain of this.#learnt.all.keys()) this.#tell(domain);
  }

  #written(): ReturnType<DomainJournal["read"]> {
    try {
      return this.#journal.read();
    } catch (error) {
      this.#options.onError(error, 0);
      return [];
    }
  }

  /** Sees answers from now on, while any rule names a domain. */
  listen(isNeeded: boolean): void {
    if (!isNeeded) this.#close();
    else if (!this.#queue && !this.#reopening) this.#open();
  }

  /** Forgets addresses whose time is over, unless a connection goes there, and what no rule means. Never rejects: what fails now is done the next time. */
  async tidy(): Promise<void> {
    try {
      await this.#forget();
    } catch (error) {
      this.#options.onError(error, 0);
    }
  }

  async #forget(): Promise<void> {
    const { meant } = this.#options;
    const now = this.#options.now(); // also of what is forgotten: what becomes due meanwhile was not looked for
    const due = this.#learnt.due(now);
    const connections = due.length > 0 ? await connectionsOf(due) : [];
    const used = new Set(
      connections.flatMap(({ original, reply }) => [original.destination, reply.source].map(formatAddress)),
    );
    const changed = this.#learnt.forget({
      now,
      isUsed: (address) => used.has(address),
      isMeant: (domain) => meant(domain) !== undefined,
    });
    for (const domain of changed) this.#tell(domain);
    if (changed.length > 0 || due.length > 0 || this.#isLonger) this.#journal.rewrite(this.#learnt.all);
    this.#isLonger = false;
  }

  #open(): void {
    try {
      this.#queue = new PacketQueue({
        ...{ number: DNS_QUEUE, atMost: MOST_WAITING, bytes: MOST_BYTES },
        onPacket: (packet, letGo) => {
          this.#reopenMs = REOPEN_MS.first;
          void this.#heed(packet).finally(letGo);
        },
        onError: (error) => this.#lost(error),
      });
    } catch (error) {
      this.#lost(error);
    }
  }

  #close(): void {
    this.#reopenMs = REOPEN_MS.first;
    clearTimeout(this.#reopening);
    this.#reopening = undefined;
    this.#queue?.close();
    this.#queue = undefined;
  }

  #lost(error: unknown): void {
    this.#queue = undefined;
    this.#options.onError(error, this.#reopenMs);
    this.#reopening = setTimeout(() => {
      this.#reopening = undefined;
      this.#open();
    }, this.#reopenMs).unref();
    this.#reopenMs = Math.min(2 * this.#reopenMs, REOPEN_MS.longest);
  }

  /** Never rejects: the answer goes on whatever is wrong with it. */
  async #heed(packet: Uint8Array): Promise<void> {
    const answer = this.#read(packet);
    const meant = answer && this.#options.meant(answer.domain);
    if (!answer || !meant || answer.addresses.length === 0) return;
    try {
      this.#learn(answer, meant);
    } catch (error) {
      this.#options.onError(error, 0);
    }
    await this.#options.settled(); // known addresses too: another's answer may have brought them just now
  }

  #read(packet: Uint8Array): DnsAnswer | undefined {
    try {
      return readDnsAnswer(packet);
    } catch (error) {
      if (!(error instanceof DnsError)) throw error;
      this.#options.onRefused(error.code, 1);
      return undefined;
    }
  }

  #learn({ domain, addresses, asker: whose }: DnsAnswer, meant: Meant): void {
    const now = this.#options.now();
    const asker = formatAddress(whose);
    const { fresh, longer, refused } = this.#learnt.learn(domain, addresses, { meant, now, asker });
    if (refused > 0) this.#options.onRefused("no-room", refused);
    if (fresh.length > 0) this.#tell(domain);
    if (longer.length > 0) this.#isLonger = true;
    const told = [...fresh, ...longer];
    if (told.length === 0) return;
    const its = this.#learnt.all.get(domain);
    this.#journal.append(told.map((address) => [domain, address, its?.get(address) ?? now]));
  }

  #tell(domain: string): void {
    const texts = [...(this.#learnt.all.get(domain)?.keys() ?? [])];
    this.#options.onChange(domain, texts.map(parseAddress));
  }
}
