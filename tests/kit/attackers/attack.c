// What a process on the host can do to be taken for a signed program.
//
//   attacker fork SOCKET                  connects and ends; its child keeps the socket and asks
//   attacker exec SOCKET PROGRAM…         connects and becomes the signed program; its child asks
//   attacker pass SOCKET                  connects and passes the socket to another process, which asks
//   attacker forge SOCKET FILE            points its exe link at FILE, in a user namespace of its own, and asks
//   attacker forge-shared SOCKET FILE     the same, through a child that shares its memory: it stays in the agent's user namespace
//   attacker memory PID                   reads the memory of another process

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/prctl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ask.h"

static void stay(void) {
    for (;;) pause();
}

static void attack_fork(const char *path) {
    int fd = new_socket(), gate[2];
    char byte;
    greet(fd, path);
    if (pipe(gate) != 0) fail("pipe");
    if (fork() != 0) _exit(0);
    close(gate[1]);
    if (read(gate[0], &byte, 1) != 0) fail("gate"); // closes when the parent has ended
    ask(fd);
}

static void attack_exec(const char *path, char **program) {
    int fd = new_socket(), gate[2];
    char byte;
    greet(fd, path);
    if (pipe2(gate, O_CLOEXEC) != 0) fail("pipe");
    if (fork() == 0) {
        close(gate[1]);
        if (read(gate[0], &byte, 1) != 0) fail("gate"); // closes when the parent has become the program
        ask(fd);
        kill(getppid(), SIGKILL);
        _exit(0);
    }
    execv(program[0], program);
    fail("execv");
}

static void attack_pass(const char *path) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) fail("socketpair");
    char byte = 0, control[CMSG_SPACE(sizeof(int))];
    memset(control, 0, sizeof control);
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (fork() == 0) {
        if (recvmsg(pair[1], &message, 0) != 1) fail("recvmsg");
        int fd;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
        ask(fd);
        kill(getppid(), SIGKILL);
        _exit(0);
    }
    int fd = new_socket();
    greet(fd, path);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (sendmsg(pair[0], &message, 0) != 1) fail("sendmsg");
    close(fd);
    stay();
}

static char text[1 << 16];

static void read_text(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) fail(path);
    size_t have = 0;
    for (ssize_t got; have < sizeof text - 1 && (got = read(fd, text + have, sizeof text - 1 - have)) > 0;) have += (size_t)got;
    text[have] = 0;
    close(fd);
}

// The kernel lets go of the old link only when no memory comes from that file any more.
static void unmap_own_executable(void) {
    char own[256];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (length < 0) fail("readlink");
    own[length] = 0;
    read_text("/proc/self/maps");
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        uintptr_t start, end;
        size_t size = strlen(line);
        if (size < (size_t)length || strcmp(line + size - (size_t)length, own) != 0) continue;
        if (sscanf(line, "%lx-%lx", &start, &end) != 2) fail("maps");
        if (munmap((void *)start, end - start) != 0) fail("munmap");
    }
}

static void point_exe_link_at(int file) {
    read_text("/proc/self/stat");
    uint64_t field[60] = {0};
    int number = 3;
    char *rest = strrchr(text, ')');
    for (char *word = strtok(rest + 1, " "); word != NULL && number < 60; word = strtok(NULL, " ")) field[number++] = strtoull(word, NULL, 10);
    struct prctl_mm_map map = {
        .start_code = field[26], .end_code = field[27], .start_stack = field[28], .start_data = field[45], .end_data = field[46],
        .start_brk = field[47], .brk = (uint64_t)(uintptr_t)sbrk(0), .arg_start = field[48], .arg_end = field[49],
        .env_start = field[50], .env_end = field[51], .auxv = NULL, .auxv_size = 0, .exe_fd = (uint32_t)file,
    };
    unmap_own_executable();
    if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) != 0) fail("PR_SET_MM_MAP");
}

static int open_forged(const char *path) {
    int file = open(path, O_RDONLY);
    if (file < 0) fail("open");
    return file;
}

static void attack_forge(const char *path, const char *forged) {
    int file = open_forged(forged), fd = new_socket();
    if (unshare(CLONE_NEWUSER) != 0) fail("unshare");
    point_exe_link_at(file);
    greet(fd, path);
    ask(fd);
}

static int forge_for_parent(void *file) {
    point_exe_link_at(*(int *)file);
    _exit(0);
}

static void attack_forge_shared(const char *path, const char *forged) {
    int file = open_forged(forged), fd = new_socket(), status;
    size_t size = 1 << 20;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) fail("mmap");
    pid_t child = clone(forge_for_parent, stack + size, CLONE_VM | CLONE_NEWUSER | SIGCHLD, &file);
    if (child < 0) fail("clone");
    if (waitpid(child, &status, 0) != child || status != 0) _exit(98);
    greet(fd, path);
    ask(fd);
}

static void attack_memory(const char *pid) {
    char path[64], maps[64];
    snprintf(path, sizeof path, "/proc/%s/mem", pid);
    snprintf(maps, sizeof maps, "/proc/%s/maps", pid);
    char byte;
    struct iovec here = {.iov_base = &byte, .iov_len = 1}, there = {.iov_base = (void *)0x400000, .iov_len = 1};
    int by_file = open(path, O_RDONLY), by_map = open(maps, O_RDONLY);
    // EPERM is the refusal; EFAULT would mean that only the address was wrong.
    int by_call = process_vm_readv(atoi(pid), &here, 1, &there, 1, 0) == 1 || errno != EPERM;
    say(by_file >= 0 || by_map >= 0 || by_call ? "read" : "refused");
}

int attack(int count, char **argument) {
    const char *what = count > 2 ? argument[1] : "";
    if (strcmp(what, "fork") == 0) attack_fork(argument[2]);
    else if (strcmp(what, "exec") == 0 && count > 3) attack_exec(argument[2], argument + 3);
    else if (strcmp(what, "pass") == 0) attack_pass(argument[2]);
    else if (strcmp(what, "forge") == 0 && count > 3) attack_forge(argument[2], argument[3]);
    else if (strcmp(what, "forge-shared") == 0 && count > 3) attack_forge_shared(argument[2], argument[3]);
    else if (strcmp(what, "memory") == 0) attack_memory(argument[2]);
    else _exit(97);
    _exit(0);
}
