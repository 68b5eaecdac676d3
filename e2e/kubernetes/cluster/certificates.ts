import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const DAYS = ["-days", "2"];
const newKey = (name: string) =>
  `-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${name}.key`.split(" ");

/** openssl, in the folder of all keys and certificates. */
export const openssl = (folder: string, ...words: string[]) =>
  execFileSync("openssl", words, { cwd: folder, stdio: "pipe" });

/** `name`.crt and .key of a CA of its own. */
export function authority(folder: string, name: string): void {
  openssl(
    folder,
    "req",
    "-x509",
    ...newKey(name),
    "-subj",
    `/CN=lab-${name}`,
    "-out",
    `${name}.crt`,
    ...DAYS,
  );
}

/** `name`.crt and .key for `subject` ("/CN=..."), by an authority of the same folder; `extension` as in openssl's configuration. */
export function signed(
  folder: string,
  { name, subject, extension, by = "ca" }: { name: string; subject: string; extension: string; by?: string },
): void {
  openssl(folder, "req", ...newKey(name), "-subj", subject, "-out", `${name}.csr`);
  writeFileSync(join(folder, `${name}.ext`), `${extension}\n`);
  const ca = ["-CA", `${by}.crt`, "-CAkey", `${by}.key`, "-CAcreateserial"];
  const files = ["-in", `${name}.csr`, "-out", `${name}.crt`, "-extfile", `${name}.ext`];
  openssl(folder, "x509", "-req", ...files, ...ca, ...DAYS);
}
