/*
 * talk: both ends of the workloads that no other program drives. `deno task bench` compiles it.
 *
 *   talk greet                               a server: a banner for each client, at once
 *   talk answer                              a server: an answer to each request
 *   talk visit PORT CLIENTS EVERY_MS MS      clients that connect, read the banner and leave
 *   talk ask PORT CLIENTS EVERY_MS MS        clients that stay connected, and send requests
 *
 * A server prints its port. Each client visits or asks every EVERY_MS; 0: as soon as the last time is over. They print "ready" when
 * they are, wait for a line of input, work for MS milliseconds, and print the count of banners or answers, the seconds, and the
 * median and the 99th percentile of the latency in nanoseconds, from connect(2) to the banner or from send(2) to the answer. All
 * ends when the input ends.
 *
 * A client leaves with a byte, at which the server closes, as mail servers do when told to quit. Whoever closes first keeps the
 * port for a while (TIME_WAIT). Were it the client, the balancer would be the first to close towards its one server. It would soon
 * have no fresh port left, and the search for one would be most of what is measured.
 *
 * Clients without a pause work until one of them is answered, even if that is later, and print how long that was: on a busy machine
 * a short time can be over before each program on the way has had its turn.
 *
 * A connection that is refused, cut or answered wrongly ends the clients with a sentence. Each side has one thread and does little:
 * what takes the time is the balancer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BANNER_BYTES = 50, REQUEST_BYTES = 64, ANSWER_BYTES = 256, BUFFER_BYTES = 4096 };
enum { EVENTS_MAX = 64, SOCKETS_MAX = 65536, CLIENTS_MAX = 16384, LATENCIES_MAX = 1 << 24 };
enum { INPUT = 0, OPEN_MAX_SECONDS = 5, OVERTIME_SECONDS = 60 };
enum { TIMER = CLIENTS_MAX }; /* among the events of a client, whose other events name connections */
static const int64_t ANSWER_MAX_NS = 1000000000;

static char buffer[BUFFER_BYTES];
static int epoll;

static _Noreturn void fail(const char *sentence, int error) {
  fprintf(stderr, "error: %s%s%s\n", sentence, error ? ": " : "", error ? strerror(error) : "");
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void watch(int fd, uint32_t name) {
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = name});
}

static struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int new_socket(int flags) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (fd < 0) fail("There is no socket", errno);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  return fd;
}

static int unanswered[SOCKETS_MAX]; /* bytes of a request of which more must come, by descriptor */

static void accept_all(int listener, int greets) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
    if (fd >= SOCKETS_MAX || (greets && send(fd, buffer, BANNER_BYTES, MSG_NOSIGNAL) != BANNER_BYTES)) {
      close(fd);
      continue;
    }
    unanswered[fd] = 0;
    watch(fd, fd);
  }
}

/* A client has one request at a time, so its socket has room for the answer. If not, the client is told by an end. */
static void serve_one(int fd, int greets) {
  ssize_t size = recv(fd, buffer, BUFFER_BYTES, 0);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0 || greets) return (void)close(fd);
  for (unanswered[fd] += size; unanswered[fd] >= REQUEST_BYTES; unanswered[fd] -= REQUEST_BYTES) {
    if (send(fd, buffer, ANSWER_BYTES, MSG_NOSIGNAL) != ANSWER_BYTES) return (void)close(fd);
  }
}

static void serve(int greets) {
  struct sockaddr_in own = loopback(0);
  socklen_t size = sizeof own;
  int listener = new_socket(SOCK_NONBLOCK);
  if (bind(listener, (struct sockaddr *)&own, size) < 0 || listen(listener, 4096) < 0) fail("The server cannot listen", errno);
  getsockname(listener, (struct sockaddr *)&own, &size);
  printf("%d\n", ntohs(own.sin_port));
  fflush(stdout);
  watch(listener, listener);
  watch(INPUT, INPUT);
  for (;;) {
    struct epoll_event events[EVENTS_MAX];
    int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.u32;
      if (fd == listener) accept_all(listener, greets);
      else if (fd != INPUT) serve_one(fd, greets);
      else if (read(INPUT, buffer, BUFFER_BYTES) <= 0) exit(0);
    }
  }
}

static struct client {
  int fd, received, is_awaiting;
  int64_t began_ns, latency_ns;
} clients[CLIENTS_MAX];

static struct load {
  int port, clients, visits, awaiting;
  int64_t every_ns;
} load;

static uint32_t latencies[LATENCIES_MAX]; /* ns */
static int answered;

static _Noreturn void cannot_connect(void) {
  fail("A client cannot connect", errno);
}

static void visit(struct client *one) {
  struct sockaddr_in server = loopback(load.port);
  one->fd = new_socket(SOCK_NONBLOCK);
  one->began_ns = now_ns();
  if (connect(one->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) cannot_connect();
  watch(one->fd, one - clients);
}

static void ask(struct client *one) {
  one->began_ns = now_ns();
  if (send(one->fd, buffer, REQUEST_BYTES, MSG_NOSIGNAL) != REQUEST_BYTES) fail("A request was not taken", errno);
}

static void begin(struct client *one) {
  if (one->is_awaiting) fail("An answer took longer than the time between two requests", 0);
  one->is_awaiting = 1;
  one->received = 0;
  load.awaiting++;
  if (load.visits) visit(one);
  else ask(one);
}

static void note(int64_t latency) {
  if (answered == LATENCIES_MAX) fail("There are more answers than can be counted", 0);
  latencies[answered++] = latency < UINT32_MAX ? latency : UINT32_MAX;
}

/* A visit counts only now: by then all of its segments have been sent. */
static void end(struct client *one) {
  note(one->latency_ns);
  one->is_awaiting = 0;
  load.awaiting--;
  if (load.visits) close(one->fd);
  if (load.every_ns == 0) begin(one);
}

/* Takes what has come. A visit is over when the server has closed, a request when the answer is there. */
static void on_readable(struct client *one) {
  int wanted = load.visits ? BANNER_BYTES : ANSWER_BYTES;
  ssize_t size = recv(one->fd, buffer, BUFFER_BYTES, 0);
  if (size < 0 && errno == EAGAIN) return;
  if (size < 0) fail("A connection was cut", errno);
  if (size == 0 && load.visits && one->received == wanted) return end(one);
  if (size == 0) fail("A connection ended before all had come", 0);
  one->received += size;
  if (one->received > wanted || !one->is_awaiting) fail("More came than was asked for", 0);
  if (one->received < wanted) return;
  one->latency_ns = now_ns() - one->began_ns;
  if (!load.visits) end(one);
  else if (send(one->fd, buffer, 1, MSG_NOSIGNAL) != 1) fail("A client cannot leave", errno);
}

/* Each connection is asked once: then the balancer has found a server for it. */
static void open_all(void) {
  struct sockaddr_in server = loopback(load.port);
  struct timeval limit = {.tv_sec = OPEN_MAX_SECONDS};
  for (int i = 0; i < load.clients; i++) {
    int fd = clients[i].fd = new_socket(0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0) cannot_connect();
    ask(&clients[i]);
    if (recv(fd, buffer, ANSWER_BYTES, MSG_WAITALL) != ANSWER_BYTES) fail("A first request got no answer", errno);
    watch(fd, i);
  }
}

static int ascending(const void *a, const void *b) {
  uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
  return (one > other) - (one < other);
}

/* When in its interval each connection asks: as if at random, and the same in every run. */
static uint32_t *phases(void) {
  uint32_t *ns = calloc(load.clients, sizeof *ns), state = 1;
  for (int i = 0; i < load.clients; i++) {
    state = state * 1664525u + 1013904223u; /* Numerical Recipes' generator: its high bits are random enough */
    ns[i] = (uint64_t)state * load.every_ns >> 32;
  }
  qsort(ns, load.clients, sizeof *ns, ascending);
  return ns;
}

static void wake_at(int timer, int64_t ns) {
  struct itimerspec when = {.it_value = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000}};
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Requests that have a time of their own are all answered. The others go on for ever: one is enough, and the last are left. */
static int is_owed(void) {
  return load.every_ns ? load.awaiting > 0 : answered == 0;
}

/* Works for so long. Returns how long it took, in seconds. */
static double work(int64_t ms) {
  uint32_t *phase = phases();
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  int64_t start = now_ns(), stop = start + ms * 1000000, due = load.every_ns ? start + phase[0] : INT64_MAX;
  watch(timer, TIMER);
  for (int i = 0; load.every_ns == 0 && i < load.clients; i++) begin(&clients[i]);
  int64_t last = stop + ANSWER_MAX_NS;
  int is_late = 0;
  for (int64_t turn = 0, now = start; now < stop || (is_owed() && now < last); now = now_ns()) {
    struct epoll_event events[EVENTS_MAX];
    is_late = now >= stop;
    wake_at(timer, now >= stop ? last : due < stop ? due : stop);
    int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.u32 != TIMER) on_readable(&clients[events[i].data.u32]);
      else if (read(timer, buffer, sizeof(uint64_t)) < 0 && errno != EAGAIN) fail("The timer cannot be read", errno);
    }
    for (; due < stop && due <= now_ns(); due = start + turn / load.clients * load.every_ns + phase[turn % load.clients]) {
      begin(&clients[turn++ % load.clients]);
    }
  }
  if (load.every_ns && load.awaiting) fail("An answer took longer than a second", 0);
  if (answered == 0) fail("Nothing was answered", 0);
  return is_late && !load.every_ns ? (now_ns() - start) / 1e9 : ms / 1e3;
}

static void report(double seconds) {
  qsort(latencies, answered, sizeof *latencies, ascending);
  uint32_t p50 = latencies[(answered - 1) / 2], p99 = latencies[(int64_t)(answered - 1) * 99 / 100];
  printf("count %d seconds %.3f p50 %u p99 %u\n", answered, seconds, p50, p99);
  fflush(stdout);
}

static void drive(int64_t ms) {
  if (load.clients < 1 || load.clients > CLIENTS_MAX || ms < 1) fail("The numbers are out of range", 0);
  prctl(PR_SET_TIMERSLACK, 1); /* ns: by default a timer may be 50 µs late */
  alarm(ms / 1000 + OVERTIME_SECONDS);
  if (!load.visits) open_all();
  printf("ready\n");
  fflush(stdout);
  if (read(INPUT, buffer, BUFFER_BYTES) <= 0) return;
  report(work(ms));
  while (read(INPUT, buffer, BUFFER_BYTES) > 0);
}

int main(int count, char **words) {
  const char *mode = count > 1 ? words[1] : "";
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (count == 2 && strcmp(mode, "greet") == 0) serve(1);
  if (count == 2 && strcmp(mode, "answer") == 0) serve(0);
  int visits = strcmp(mode, "visit") == 0;
  if (count != 6 || (!visits && strcmp(mode, "ask") != 0)) return 2;
  load = (struct load){
    .port = atoi(words[2]), .clients = atoi(words[3]), .every_ns = atoll(words[4]) * 1000000, .visits = visits};
  drive(atoll(words[5]));
  return 0;
}
