/*
 * margay-cni, margay-ipam: what the container runtime executes. Passes one CNI call to the agent's unix socket and prints the answer.
 * No logic and no credentials live here; packages/cni/src/relay.ts is the same in TypeScript, and one test table runs against both.
 *
 *   request   u32 length | "CNI_COMMAND=ADD" NUL ... "MARGAY_ARGV0=margay-cni" NUL | NUL | stdin
 *   answer    u32 length | u8 exit code | stdout                                     (lengths big-endian, of what follows them)
 *
 * A DEL that the agent cannot take now is kept as a file of the same bytes, and answered with success: src/keep.ts has the same, src/spool.ts the rest.
 *
 * Build: gcc -static -Os -s -o margay-cni relay.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_FRAME = 1 << 20, STDIN_SECONDS = 10, SEND_SECONDS = 10, ANSWER_SECONDS = 90, TRY_AGAIN_LATER = 11, UNAVAILABLE = 50,
       SPOOL_FILES = 4096, SPOOL_BYTES = 64 << 10 };
#define VERSIONS "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n"

extern char **environ;
static char request[MAX_FRAME + 4], answer[MAX_FRAME];
static size_t used = 4;          /* of request; the length goes in front */
static const char *conf = "";    /* the stdin part of request */
static const char *command = ""; /* CNI_COMMAND */
static const char *plugin = "margay-cni";

/* The value of "name" in the configuration, or NULL: the first `"name" : "value"` without escapes. */
static char *field(const char *name, char *into, size_t size) {
  char quoted[32];
  snprintf(quoted, sizeof quoted, "\"%s\"", name);
  for (const char *at = conf; (at = strstr(at, quoted)); at++) {
    const char *value = at + strlen(quoted);
    value += strspn(value, " \t\r\n");
    if (*value++ != ':') continue;
    value += strspn(value, " \t\r\n");
    if (*value++ != '"') continue;
    size_t length = strcspn(value, "\"\\");
    if (value[length] != '"' || length >= size) continue;
    memcpy(into, value, length);
    into[length] = 0;
    return into;
  }
  return NULL;
}

static void quote(const char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < 0x20) printf("\\u%04x", (unsigned char)*text);
    else printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
}

/* Prints a CNI error and ends. "Try again later": whatever is wrong here may be mended without the caller changing anything. */
static void fail(const char *what, const char *socket, const char *why) {
  char version[16];
  printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"margay: ",
         field("cniVersion", version, sizeof version) ? version : "1.0.0", strcmp(command, "STATUS") ? TRY_AGAIN_LATER : UNAVAILABLE);
  quote(what);
  quote(socket);
  printf(": ");
  quote(why);
  printf("\",\"details\":\"Is `margay agent` running on this node, and is that its socket? "
         "Set the configuration's \\\"socket\\\" if it listens elsewhere.\"}\n");
  fflush(stdout);
  _exit(1);
}

static int is_full(const char *directory) {
  DIR *entries = opendir(directory);
  int count = 0;
  if (!entries) return 1;
  while (readdir(entries)) count++;
  closedir(entries);
  return count >= SPOOL_FILES + 2; /* "." and ".." */
}

/* FNV-1a. Two networks may each have a container of one name. */
static uint32_t checksum(void) {
  uint32_t hash = 0x811c9dc5;
  for (size_t i = 0; i < used; i++) hash = (hash ^ (unsigned char)request[i]) * 0x01000193;
  return hash;
}

/* Keeps the request in <folder of the socket>/cni-spool/<container>.<interface>.<plugin>.<checksum>, whole or not at all. */
static int keep(const char *socket) {
  char directory[128], path[400], fresh[420];
  const char *container = getenv("CNI_CONTAINERID"), *ifname = getenv("CNI_IFNAME"), *slash = strrchr(socket, '/');
  if (!slash || !container || !ifname || used > SPOOL_BYTES || strlen(container) > 100 || strlen(ifname) > 15) return 0;
  if (!*container || *container == '.' || strchr(container, '/') || strchr(ifname, '/')) return 0;
  snprintf(directory, sizeof directory, "%.*s", (int)(slash - socket), socket);
  mkdir(directory, 0755);
  snprintf(directory, sizeof directory, "%.*s/cni-spool", (int)(slash - socket), socket);
  mkdir(directory, 0700);
  if (is_full(directory)) return 0;
  snprintf(path, sizeof path, "%s/%s.%s.%s.%08x", directory, container, ifname, plugin, checksum());
  snprintf(fresh, sizeof fresh, "%s/.%d", directory, (int)getpid());
  int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return 0;
  int kept = write(fd, request, used) == (ssize_t)used && !close(fd) && !rename(fresh, path);
  if (!kept) unlink(fresh);
  return kept;
}

/* The agent did not take the call, or did not answer. */
static void lost(const char *what, const char *socket, const char *why) {
  if (!strcmp(command, "DEL") && keep(socket)) _exit(0);
  fail(what, socket, why);
}

static void add(const char *line) {
  size_t length = strlen(line) + 1;
  if (used + length + 1 > sizeof request) fail("environment", "", "larger than 1 MiB");
  memcpy(request + used, line, length);
  used += length;
}

static void read_stdin(void) {
  for (;;) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    if (poll(&in, 1, STDIN_SECONDS * 1000) != 1) fail("stdin", "", "no end of the configuration within 10 seconds");
    ssize_t got = TEMP_FAILURE_RETRY(read(0, request + used, sizeof request - used));
    if (got < 0) fail("stdin", "", strerror(errno));
    if (got == 0) break;
    used += got;
    if (used == sizeof request) fail("stdin", "", "configuration larger than 1 MiB");
  }
  request[used] = 0; /* used < sizeof request: for strstr, not sent */
}

static int dial(const char *path) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  struct timeval sending = {SEND_SECONDS, 0}, waiting = {ANSWER_SECONDS, 0};
  if (strlen(path) >= sizeof to.sun_path) fail("socket ", path, "path longer than 107 bytes");
  strcpy(to.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket ", path, strerror(errno));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &sending, sizeof sending);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &waiting, sizeof waiting);
  if (TEMP_FAILURE_RETRY(connect(fd, (struct sockaddr *)&to, sizeof to))) lost("no agent at ", path, strerror(errno));
  return fd;
}

static void receive(int fd, void *into, size_t size, const char *path) {
  for (size_t at = 0; at < size;) {
    ssize_t got = TEMP_FAILURE_RETRY(recv(fd, (char *)into + at, size - at, 0)); /* stopped and continued: signal(7) */
    if (got == 0) lost("agent at ", path, "closed the connection without an answer");
    if (got < 0) lost("agent at ", path, errno == EAGAIN ? "no answer within 90 seconds" : strerror(errno));
    at += got;
  }
}

int main(int argc, char **argv) {
  char line[300], path_in_conf[108];
  const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
  if (getenv("CNI_COMMAND")) command = getenv("CNI_COMMAND");
  if (argc > 0) plugin = slash ? slash + 1 : argv[0];
  if (!strcmp(command, "VERSION")) return fputs(VERSIONS, stdout) < 0; /* also when the agent is down */
  for (char **variable = environ; *variable; variable++)
    if (!strncmp(*variable, "CNI_", 4)) add(*variable);
  snprintf(line, sizeof line, "MARGAY_ARGV0=%s", plugin);
  add(line);
  add("");
  size_t conf_at = used;
  read_stdin();
  conf = request + conf_at;

  const char *path = getenv("MARGAY_CNI_SOCKET");
  if (!path || !*path) path = field("socket", path_in_conf, sizeof path_in_conf);
  if (!path) path = "/run/margay/cni.sock";
  uint32_t length = htonl(used - 4); /* before the first `lost` */
  memcpy(request, &length, 4);
  int fd = dial(path);
  for (size_t at = 0; at < used;) {
    ssize_t sent = TEMP_FAILURE_RETRY(send(fd, request + at, used - at, MSG_NOSIGNAL));
    if (sent < 0) lost("agent at ", path, errno == EAGAIN ? "does not read" : strerror(errno));
    at += sent;
  }
  receive(fd, &length, 4, path);
  length = ntohl(length);
  if (length < 1 || length > MAX_FRAME) fail("agent at ", path, "answer of impossible length");
  receive(fd, answer, length, path);
  fwrite(answer + 1, 1, length - 1, stdout);
  return fflush(stdout) ? 1 : (unsigned char)answer[0];
}
