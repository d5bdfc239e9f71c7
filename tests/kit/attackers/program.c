// A program to be signed, which does what a program might be made to do once it runs.
//
//   program ask SOCKET                 asks, then stays
//   program helper SOCKET PATH…        starts a helper that nobody signed, then asks
//   program preload SOCKET LIBRARY     starts itself again with LD_PRELOAD, then asks
//   program load SOCKET LIBRARY        loads a library, then asks
//   program become SOCKET PATH…        connects, becomes another program, and lets a child of its own ask
//   program hold                       stays

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "ask.h"

static void stay(void) {
    for (;;) pause();
}

static void connect_and_ask(const char *path) {
    int fd = new_socket();
    greet(fd, path);
    ask(fd);
    stay();
}

// Returns once the child runs what it was told to: the pipe closes on exec.
static void start(char *const arguments[], char *const environment[]) {
    int gate[2];
    char byte;
    if (pipe2(gate, O_CLOEXEC) != 0) fail("pipe");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        execve(arguments[0], arguments, environment);
        fail("execve");
    }
    close(gate[1]);
    if (read(gate[0], &byte, 1) != 0) fail("gate");
    close(gate[0]);
}

int main(int count, char **argument) {
    if (count == 2 && strcmp(argument[1], "hold") == 0) {
        say("holding");
        stay();
    }
    if (count < 3) return 97;
    const char *what = argument[1], *path = argument[2];
    if (strcmp(what, "ask") == 0) connect_and_ask(path);
    if (count < 4) return 97;
    char *none[] = {NULL};
    if (strcmp(what, "helper") == 0) {
        start(argument + 3, none);
        connect_and_ask(path);
    }
    if (strcmp(what, "preload") == 0) {
        char variable[512];
        snprintf(variable, sizeof variable, "LD_PRELOAD=%s", argument[3]);
        char *again[] = {argument[0], "hold", NULL}, *environment[] = {variable, NULL};
        start(again, environment);
        connect_and_ask(path);
    }
    if (strcmp(what, "load") == 0) {
        if (dlopen(argument[3], RTLD_NOW) == NULL) fail("dlopen");
        connect_and_ask(path);
    }
    if (strcmp(what, "become") == 0) {
        int fd = new_socket(), gate[2];
        char byte;
        greet(fd, path);
        if (pipe2(gate, O_CLOEXEC) != 0) fail("pipe");
        if (fork() == 0) {
            close(gate[1]);
            if (read(gate[0], &byte, 1) != 0) fail("gate");
            ask(fd);
            stay();
        }
        execve(argument[3], argument + 3, none);
        fail("execve");
    }
    return 97;
}
