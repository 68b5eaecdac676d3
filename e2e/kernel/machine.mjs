// A machine with a Debian's own kernel: disks without mounting anything, QEMU without KVM.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { must } from "../../packages/dev/src/progress.mjs";

const INIT = fileURLToPath(new URL("init.sh", import.meta.url));
/** What a minimal Debian lacks of a machine that boots; its kernel asks for modules by kmod. */
const BOOT = ["linux-image-cloud-amd64", "initramfs-tools", "udev", "kmod", "ca-certificates", "git"];
const ROOT_MIB = 2560;
const TREE_MIB = 2048;
const MEMORY_MIB = 6144;
const SCRIPT_BYTES = 16_384;
/** Of what hangs without a word. */
const HOURS = 6;

/**
 * The guest counts time by its own instructions, a nanosecond each, and by ours only while it waits: so a test's limits hold
 * however slow the emulation is, and what fails does not fail for that. (`sleep=off`, which skips waiting, takes a disk's for a
 * timer's: 585 seconds in one read.) One processor: it is the price.
 */
const TIME = ["-accel", "tcg,tb-size=1024", "-icount", "shift=0", "-smp", "1"];

/** Without protection keys, which V8 switches as it compiles and TCG answers by forgetting where every page is. */
const CPU = "max,-pku,-la57";

/** A Debian with its kernel and `packages` below `folder`, made once for each list of them. @returns where its parts are */
export async function debian(suite, packages, folder, log) {
  const include = [...packages, ...BOOT].join(",");
  const id = createHash("sha256").update(include).update(readFileSync(INIT)).digest("hex").slice(0, 12);
  const made = join(folder, `${suite}-${id}`);
  if (existsSync(made)) return parts(made);
  rmSync(`${made}.new`, { recursive: true, force: true });
  mkdirSync(`${made}.new`, { recursive: true });
  await below(tmpdir(), async (scratch) => {
    const [tar, root] = [join(scratch, "root.tar"), join(scratch, "root")];
    const words = ["--variant=minbase", `--include=${include}`, suite, tar];
    await must("mmdebstrap", words, { log, what: `mmdebstrap ${suite}` });
    mkdirSync(root);
    await must("tar", ["-C", root, "-xf", tar], { what: "tar" });
    mkdirSync(join(root, "tree"));
    copyFileSync(INIT, join(root, "sbin/margay-init"));
    chmodSync(join(root, "sbin/margay-init"), 0o755);
    for (const name of readdirSync(join(root, "boot")).filter((file) => /^(vmlinuz|initrd)/.test(file)))
      copyFileSync(join(root, "boot", name), join(`${made}.new`, name.replace(/[.-].*/, "")));
    await disk(root, join(`${made}.new`, "root.img"), ROOT_MIB, log);
  });
  renameSync(`${made}.new`, made);
  return parts(made);
}

const parts = (made) => ({
  kernel: join(made, "vmlinuz"),
  initrd: join(made, "initrd"),
  root: join(made, "root.img"),
});

/** This tree as it is built, without its history, as a disk below `folder`. @returns its path */
export async function treeDisk(tree, folder, log) {
  const path = join(folder, "tree.img");
  await below(tmpdir(), async (scratch) => {
    const without = [".git", ".cache", "build", "coverage"].map((name) => `--exclude=./${name}`);
    const pipe = `tar -C "$1" -c ${without.join(" ")} . | tar -C "$0" -x`;
    await must("sh", ["-c", pipe, scratch, tree], { what: "tar" });
    await disk(scratch, path, TREE_MIB, log);
  });
  return path;
}

async function disk(folder, path, mib, log) {
  rmSync(path, { force: true });
  const words = ["-q", "-t", "ext4", "-O", "^has_journal", "-d", folder, path, `${mib}M`];
  await must("mke2fs", words, { log, what: "mke2fs" });
}

/** @returns the exit code of `script` in the guest, whose console is kept in the file `log` as well; undefined when it told none */
export async function boot({ kernel, initrd, root }, tree, script, log) {
  writeFileSync(`${tree}.script`, Buffer.alloc(SCRIPT_BYTES).fill(script, 0, Buffer.byteLength(script)));
  const drive = (file) => ["-drive", `file=${file},if=virtio,format=raw,snapshot=on`];
  const append = "console=ttyS0 root=/dev/vda rw quiet panic=-1 mitigations=off init=/sbin/margay-init";
  const machine = ["-cpu", CPU, "-m", `${MEMORY_MIB}`, "-nodefaults", "-display", "none", "-no-reboot"];
  const child = spawn(
    "setpriv",
    [
      ...["--pdeathsig", "KILL", "--", "nice", "-n", "19", "qemu-system-x86_64", ...TIME, ...machine],
      ...["-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append", append],
      ...[root, tree, `${tree}.script`].flatMap(drive),
    ],
    { stdio: ["ignore", "pipe", "inherit"], timeout: HOURS * 3_600_000, killSignal: "SIGKILL" },
  );
  let said = "";
  for await (const chunk of child.stdout.setEncoding("utf8")) {
    said += chunk;
    process.stdout.write(chunk);
  }
  writeFileSync(log, said);
  return told(said);
}

/** The exit code that the guest said last; undefined when it died before. */
export function told(said) {
  const code = /^margay-exit: (\d+)\r?$/m.exec(said)?.[1];
  return code === undefined ? undefined : Number(code);
}

async function below(parent, work) {
  const scratch = mkdtempSync(join(parent, "margay-kernel-"));
  try {
    await work(scratch);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
