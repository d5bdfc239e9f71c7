// Asks a Workload API socket for an identity, and says whether it got one. Speaks just enough HTTP/2.

#ifndef ASK_H
#define ASK_H

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 10000

// Raw output: the buffers of stdio may lie in memory that an attack takes away.
static void say(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0) _exit(99);
    if (length > (int)sizeof line - 2) length = (int)sizeof line - 2;
    line[length] = '\n';
    if (write(1, line, (size_t)length + 1) < 0) _exit(99);
}

static void fail(const char *what) {
    say("failed: %s: %s", what, strerror(errno));
    _exit(98);
}

static int new_socket(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) fail("socket");
    return fd;
}

// A server that has hung up is an answer: nothing.
static int put(int fd, const void *bytes, size_t length) {
    return send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

// Connects, and waits for the server's first byte: by then it has looked at who connected.
static void greet(int fd, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const unsigned char settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    put(fd, preface, sizeof preface - 1);
    put(fd, settings, sizeof settings);
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, PATIENCE_MS) != 1) fail("no answer to the connection");
}

static size_t literal(unsigned char *at, const char *name, const char *value) {
    size_t n = strlen(name), v = strlen(value), i = 0;
    at[i++] = 0;
    at[i++] = (unsigned char)n;
    memcpy(at + i, name, n);
    i += n;
    at[i++] = (unsigned char)v;
    memcpy(at + i, value, v);
    return i + v;
}

static int request(int fd) {
    unsigned char headers[512];
    size_t n = 9;
    headers[n++] = 0x83; // :method POST
    headers[n++] = 0x86; // :scheme http
    n += literal(headers + n, ":path", "/SpiffeWorkloadAPI/FetchX509SVID");
    n += literal(headers + n, ":authority", "localhost");
    n += literal(headers + n, "content-type", "application/grpc");
    n += literal(headers + n, "te", "trailers");
    n += literal(headers + n, "workload.spiffe.io", "true");
    size_t payload = n - 9;
    unsigned char frame[9] = {0, (unsigned char)(payload >> 8), (unsigned char)payload, 1, 4, 0, 0, 0, 1};
    memcpy(headers, frame, sizeof frame);
    static const unsigned char empty_message[14] = {0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0};
    memcpy(headers + n, empty_message, sizeof empty_message);
    return put(fd, headers, n + sizeof empty_message);
}

static int take(int fd, unsigned char *bytes, size_t length) {
    for (size_t have = 0; have < length;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, PATIENCE_MS) != 1) return 0;
        ssize_t got = read(fd, bytes + have, length - have);
        if (got <= 0) return 0;
        have += (size_t)got;
    }
    return 1;
}

// Whether the answer holds a message: an identity is the only one there is.
static int answered(int fd) {
    unsigned char head[9], body[65536];
    while (take(fd, head, sizeof head)) {
        size_t length = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (length > sizeof body || !take(fd, body, length)) return 0;
        if (head[3] == 0 && length > 5) return 1;               // DATA
        if (head[3] == 1 && (head[4] & 1)) return 0;            // HEADERS that end the stream: trailers
        if (head[3] == 3 || head[3] == 7) return 0;             // RST_STREAM, GOAWAY
    }
    return 0;
}

static void ask(int fd) {
    say(request(fd) && answered(fd) ? "identity" : "nothing");
}

#endif
