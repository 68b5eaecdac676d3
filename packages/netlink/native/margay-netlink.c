/* The system calls that Node has no words for: raw sockets' options, netlink, namespaces, a poll on a
 * file descriptor, and memory that need not be resident. Every function answers the call's result or -errno; nothing here knows a message format.
 * Symbols of libc, Node-API and libuv resolve from the node executable (no link step, no node-gyp). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <node_api.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

/* The few words of uv.h in use. A handle's first member is its `data` pointer: part of libuv's ABI. */
typedef struct uv_loop_s uv_loop_t;
typedef struct { void *data; } uv_handle;
typedef void (*uv_poll_cb)(uv_handle *, int status, int events);
enum { UV_POLL = 8, UV_READABLE = 1 };
extern size_t uv_handle_size(int type);
extern int uv_poll_init(uv_loop_t *, uv_handle *, int fd);
extern int uv_poll_start(uv_handle *, int events, uv_poll_cb);
extern void uv_close(uv_handle *, void (*closed)(uv_handle *));

#define ARGS(n) napi_value a[n]; size_t argc = n; napi_get_cb_info(env, info, &argc, a, NULL, NULL)
#define FUNCTION(name) static napi_value name(napi_env env, napi_callback_info info)

static int number(napi_env env, napi_value v) {
  int32_t n = -1;
  napi_get_value_int32(env, v, &n);
  return n;
}

/* A path; empty when it is no string or longer than the buffer, which every system call refuses. */
static char *text(napi_env env, napi_value v, char *out, size_t size) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, v, out, size, &length) != napi_ok || length + 1 >= size) out[0] = 0;
  return out;
}

static void *bytes(napi_env env, napi_value v, size_t *length) {
  void *at = NULL;
  *length = 0;
  napi_get_buffer_info(env, v, &at, length);
  return at;
}

static napi_value answer(napi_env env, long result) {
  napi_value v;
  napi_create_int64(env, result < 0 ? -errno : result, &v);
  return v;
}

/* socket(domain, type, protocol): fd; always close-on-exec and non-blocking. */
FUNCTION(do_socket) {
  ARGS(3);
  return answer(env, socket(number(env, a[0]), number(env, a[1]) | SOCK_CLOEXEC | SOCK_NONBLOCK, number(env, a[2])));
}

/* bind(fd, sockaddr) */
FUNCTION(do_bind) {
  ARGS(2);
  size_t n;
  void *address = bytes(env, a[1], &n);
  return answer(env, bind(number(env, a[0]), address, n));
}

/* connect(fd, sockaddr): for datagrams, which go nowhere else from then on */
FUNCTION(do_connect) {
  ARGS(2);
  size_t n;
  void *address = bytes(env, a[1], &n);
  return answer(env, connect(number(env, a[0]), address, n));
}

/* setsockopt(fd, level, name, value) */
FUNCTION(do_setsockopt) {
  ARGS(4);
  size_t n;
  void *value = bytes(env, a[3], &n);
  return answer(env, setsockopt(number(env, a[0]), number(env, a[1]), number(env, a[2]), value, n));
}

/* getsockopt(fd, level, name, into): bytes written */
FUNCTION(do_getsockopt) {
  ARGS(4);
  size_t n;
  void *into = bytes(env, a[3], &n);
  socklen_t length = n;
  int r = getsockopt(number(env, a[0]), number(env, a[1]), number(env, a[2]), into, &length);
  return answer(env, r < 0 ? r : (long)length);
}

/* attachFilter(fd, program): struct sock_filter after struct sock_filter */
FUNCTION(do_attach_filter) {
  ARGS(2);
  size_t n;
  struct sock_filter *at = bytes(env, a[1], &n);
  const struct sock_fprog program = { .len = n / sizeof *at, .filter = at };
  return answer(env, setsockopt(number(env, a[0]), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
}

/* send(fd, bytes): bytes sent */
FUNCTION(do_send) {
  ARGS(2);
  size_t n;
  void *from = bytes(env, a[1], &n);
  return answer(env, send(number(env, a[0]), from, n, MSG_NOSIGNAL));
}

struct job {
  napi_async_work work;
  napi_deferred deferred;
  int fd;
  long result;
  size_t length;
  char bytes[];
};

static void job_run(napi_env env, void *data) {
  struct job *j = data;
  (void)env;
  j->result = send(j->fd, j->bytes, j->length, MSG_NOSIGNAL);
  if (j->result < 0) j->result = -errno;
}

static void job_done(napi_env env, napi_status status, void *data) {
  struct job *j = data;
  (void)status;
  napi_value v;
  napi_create_int64(env, j->result, &v);
  napi_resolve_deferred(env, j->deferred, v);
  napi_delete_async_work(env, j->work);
  free(j);
}

/* sendLater(fd, bytes): a promise of what send answers; the bytes are copied, a thread of libuv's pool waits for the kernel */
FUNCTION(do_send_later) {
  ARGS(2);
  size_t n;
  void *from = bytes(env, a[1], &n);
  struct job *j = malloc(sizeof *j + n);
  j->fd = number(env, a[0]);
  j->length = n;
  memcpy(j->bytes, from, n);
  napi_value name, promise;
  napi_create_string_utf8(env, "margay:send", NAPI_AUTO_LENGTH, &name);
  napi_create_promise(env, &j->deferred, &promise);
  napi_create_async_work(env, NULL, name, job_run, job_done, j, &j->work);
  napi_queue_async_work(env, j->work);
  return promise;
}

/* recv(fd, into): the datagram's whole length, also when it was longer than `into` */
FUNCTION(do_recv) {
  ARGS(2);
  size_t n;
  void *into = bytes(env, a[1], &n);
  return answer(env, recv(number(env, a[0]), into, n, MSG_TRUNC));
}

/* close(fd) */
FUNCTION(do_close) {
  ARGS(1);
  return answer(env, close(number(env, a[0])));
}

/* setns(fd, CLONE_NEW...): this thread only */
FUNCTION(do_setns) {
  ARGS(2);
  return answer(env, setns(number(env, a[0]), number(env, a[1])));
}

/* unshare(CLONE_NEW...): this thread only */
FUNCTION(do_unshare) {
  ARGS(1);
  return answer(env, unshare(number(env, a[0])));
}

/* bindMount(source, target) */
FUNCTION(do_bind_mount) {
  ARGS(2);
  char source[4096], target[4096];
  return answer(env, mount(text(env, a[0], source, sizeof source), text(env, a[1], target, sizeof target), "none", MS_BIND, NULL));
}

/* unmount(target): detached at once, freed when its last user is gone */
FUNCTION(do_unmount) {
  ARGS(1);
  char target[4096];
  return answer(env, umount2(text(env, a[0], target, sizeof target), MNT_DETACH));
}

/* releaseFilePages(): kB let go of. Mappings of files that are read only and of which no page was ever written (smaps:
 * Anonymous 0) lose their pages, which the page cache still has: whatever is touched again comes back by a minor fault. */
FUNCTION(do_release_file_pages) {
  (void)info;
  FILE *maps = fopen("/proc/self/smaps", "re");
  if (!maps) return answer(env, -1);
  char line[4608], mode[5];
  unsigned long start = 0, end = 0, inode = 0, kb = 0, resident = 0;
  long released = 0;
  while (fgets(line, sizeof line, maps)) {
    unsigned long from, to, node;
    if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu", &from, &to, mode, &node) == 4) {
      start = from, end = to, resident = 0;
      inode = strchr(mode, 'w') ? 0 : node;
    } else if (sscanf(line, "Rss: %lu kB", &kb) == 1) resident = kb;
    else if (inode && sscanf(line, "Anonymous: %lu kB", &kb) == 1 && kb == 0 && resident > 0 &&
             madvise((void *)start, end - start, MADV_DONTNEED) == 0)
      released += resident;
  }
  fclose(maps);
  return answer(env, released);
}

struct watch {
  napi_env env;
  napi_ref callback;
  napi_async_cleanup_hook_handle cleanup;
  uv_handle *handle;
};

static void on_poll(uv_handle *handle, int status, int events) {
  struct watch *w = handle->data;
  (void)events;
  if (!w->callback) return;
  napi_handle_scope scope;
  napi_open_handle_scope(w->env, &scope);
  napi_value callback, receiver, argument, thrown;
  napi_get_reference_value(w->env, w->callback, &callback);
  napi_get_global(w->env, &receiver);
  napi_create_int32(w->env, status, &argument);
  if (napi_make_callback(w->env, NULL, receiver, callback, 1, &argument, NULL) == napi_pending_exception &&
      napi_get_and_clear_last_exception(w->env, &thrown) == napi_ok)
    napi_fatal_exception(w->env, thrown);
  napi_close_handle_scope(w->env, scope);
}

static void on_closed(uv_handle *handle) {
  struct watch *w = handle->data;
  napi_remove_async_cleanup_hook(w->cleanup);
  free(handle);
  free(w);
}

/* The watch's memory lives until libuv lets go of the handle; the callback is dropped at once. */
static void stop(struct watch *w) {
  if (!w->callback) return;
  napi_delete_reference(w->env, w->callback);
  w->callback = NULL;
  uv_close(w->handle, on_closed);
}

static void on_env_exit(napi_async_cleanup_hook_handle hook, void *w) {
  (void)hook;
  stop(w);
}

/* poll(fd, (status) => void): a token for unpoll; level-triggered. status < 0 is libuv's error. */
FUNCTION(do_poll) {
  ARGS(2);
  uv_loop_t *loop;
  napi_get_uv_event_loop(env, &loop);
  struct watch *w = calloc(1, sizeof *w);
  w->env = env;
  w->handle = calloc(1, uv_handle_size(UV_POLL));
  w->handle->data = w;
  int r = uv_poll_init(loop, w->handle, number(env, a[0]));
  if (r < 0) {
    free(w->handle);
    free(w);
    errno = -r;
    return answer(env, -1);
  }
  napi_create_reference(env, a[1], 1, &w->callback);
  napi_add_async_cleanup_hook(env, on_env_exit, w, &w->cleanup);
  uv_poll_start(w->handle, UV_READABLE, on_poll);
  napi_value token;
  napi_create_external(env, w, NULL, NULL, &token);
  return token;
}

/* unpoll(token): exactly once; the fd may be closed right after. */
FUNCTION(do_unpoll) {
  ARGS(1);
  void *w = NULL;
  if (napi_get_value_external(env, a[0], &w) == napi_ok) stop(w);
  return answer(env, 0);
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
#define EXPORT(name, f) { name, NULL, f, NULL, NULL, NULL, napi_enumerable, NULL }
      EXPORT("socket", do_socket),         EXPORT("bind", do_bind),           EXPORT("setsockopt", do_setsockopt),
      EXPORT("getsockopt", do_getsockopt), EXPORT("send", do_send),           EXPORT("recv", do_recv),
      EXPORT("close", do_close),           EXPORT("setns", do_setns),         EXPORT("unshare", do_unshare),
      EXPORT("bindMount", do_bind_mount),  EXPORT("unmount", do_unmount),     EXPORT("poll", do_poll),
      EXPORT("unpoll", do_unpoll),         EXPORT("releaseFilePages", do_release_file_pages),
      EXPORT("sendLater", do_send_later),  EXPORT("connect", do_connect),
      EXPORT("attachFilter", do_attach_filter),
  };
  napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions);
  return exports;
}
