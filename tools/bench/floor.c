/*
 * floor: the least that an epoll proxy can do on Linux. `deno task bench` compiles it and measures the product against it.
 *
 *   floor PORT WORKERS SERVER_ADDRESS:PORT…
 *
 * It makes the system calls of the product's epoll engine and no others, in the same order and with the same socket options, and it
 * keeps nothing: no timers, counters, limits, logs or policy. Servers take turns. A server that refuses costs the client its
 * connection, and a reset of one side closes the other. Each worker is a process with a listener of its own (SO_REUSEPORT).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536, EVENTS_MAX = 256, ACCEPTS_MAX = 64, SOCKETS_MAX = 1 << 20 };

/* One socket of a pair, at the index of its descriptor. */
static struct side {
  int peer; /* 0: closed */
  char is_client, readable, writable, pieces;
  char hung_up, ended, done; /* its end has arrived; has been read; has been passed on */
  int held_bytes;
  char *held; /* read from this side, not yet taken by the other */
} sides[SOCKETS_MAX];

static void set(int socket, int level, int option) {
  setsockopt(socket, level, option, &(int){1}, sizeof(int));
}

static int watch(int epoll, int socket, unsigned events) {
  return epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &(struct epoll_event){.events = events, .data.fd = socket});
}

static void close_pair(int socket) {
  int pair[] = {socket, sides[socket].peer};
  for (int i = 0; i < 2; i++) {
    free(sides[pair[i]].held);
    sides[pair[i]] = (struct side){0};
    close(pair[i]);
  }
}

/* Keeps what the receiver did not take. `bytes` may be part of what is held already. */
static void hold(struct side *side, const char *bytes, int size) {
  char *copy = memcpy(malloc(size), bytes, size);
  free(side->held);
  side->held = copy;
  side->held_bytes = size;
}

/* Passes on what one side has sent, until there is no more or the other side is full. */
static void relay(int from) {
  static char buffer[BUFFER_BYTES];
  struct side *side = &sides[from], *to = &sides[side->peer];
  while (to->writable && (side->held || side->readable)) {
    int size = side->held ? side->held_bytes : recv(from, buffer, BUFFER_BYTES, 0);
    if (size < 0) {
      side->readable = 0;
      if (errno != EAGAIN) close_pair(from);
      return;
    }
    if (!side->held) { /* a short read has emptied the socket, and found the end if that has arrived */
      side->readable = size == BUFFER_BYTES;
      side->ended = size == 0 || (size < BUFFER_BYTES && side->hung_up);
    }
    const char *bytes = side->held ? side->held : buffer;
    int sent = size == 0 ? 0 : send(side->peer, bytes, size, MSG_NOSIGNAL | (side->ended ? MSG_MORE : 0));
    if (sent < 0 && errno != EAGAIN) return close_pair(from);
    if (sent < size) {
      to->writable = 0;
      return hold(side, bytes + (sent < 0 ? 0 : sent), size - (sent < 0 ? 0 : sent));
    }
    free(side->held);
    side->held = NULL;
    /* As in the product: the first piece goes at once anyway, and a connection with one piece saves a call. */
    if (side->is_client && size > 0 && side->pieces < 2 && ++side->pieces == 2) set(side->peer, IPPROTO_TCP, TCP_NODELAY);
    if (!side->ended) continue;
    side->done = 1;
    if (to->done) close_pair(from);
    else shutdown(side->peer, SHUT_WR);
    return;
  }
}

static void on_event(int socket, unsigned events) {
  struct side *side = &sides[socket];
  int peer = side->peer, has_room = (events & EPOLLOUT) && !side->writable;
  if (peer == 0) return; /* closed earlier in this turn */
  if (events & EPOLLERR) return close_pair(socket);
  if (events & EPOLLRDHUP) side->hung_up = 1;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) && !side->ended) side->readable = 1;
  if (has_room) side->writable = 1;
  relay(socket);
  if (has_room && side->peer != 0) relay(peer);
}

static void dial(int epoll, int client, const struct sockaddr_in *address) {
  unsigned events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (server < 0) return (void)close(client);
  sides[client] = (struct side){.peer = server, .is_client = 1, .writable = 1};
  sides[server] = (struct side){.peer = client}; /* an event tells when it is connected, and so writable */
  int failed = connect(server, (const struct sockaddr *)address, sizeof *address) < 0 && errno != EINPROGRESS;
  if (failed || watch(epoll, client, events) < 0 || watch(epoll, server, events) < 0) close_pair(client);
}

int main(int count, char **words) {
  int servers = count - 3, next = 0, batch = 1;
  if (servers < 1) return 2;
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in addresses[servers];
  for (int i = 0; i < servers; i++) {
    char *host = strtok(words[i + 3], ":"), *port = strtok(NULL, "");
    addresses[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port ? atoi(port) : 0)};
    if (!port || inet_pton(AF_INET, host, &addresses[i].sin_addr) != 1) return 2;
  }
  for (int i = 1; i < atoi(words[2]); i++) {
    if (fork() > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    break;
  }
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
  set(listener, SOL_SOCKET, SO_REUSEADDR);
  set(listener, SOL_SOCKET, SO_REUSEPORT);
  set(listener, IPPROTO_TCP, TCP_NODELAY); /* clients inherit it */
  if (bind(listener, (struct sockaddr *)&own, sizeof own) < 0 || listen(listener, 4096) < 0) return 1;
  watch(epoll, listener, EPOLLIN);
  for (;;) {
    struct epoll_event events[EVENTS_MAX];
    int ready = epoll_wait(epoll, events, EVENTS_MAX, -1), has_clients = 0, accepted = 0;
    for (int i = 0; i < ready; i++) {
      if (events[i].data.fd == listener) has_clients = 1;
      else on_event(events[i].data.fd, events[i].events);
    }
    /* New clients last: a descriptor closed in this turn may have another event in it. More each time: few calls find none. */
    for (int client; has_clients && accepted < batch; accepted++) {
      if ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) break;
      dial(epoll, client, &addresses[next++ % servers]);
    }
    if (!has_clients) batch = 1;
    else if (accepted == batch && batch < ACCEPTS_MAX) batch *= 2;
  }
}
