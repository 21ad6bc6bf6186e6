/* Copyright (c) 2026, nvmeof.spdk contributors
 * GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Python for the lab's machines: a program on standard input (no arguments) runs in forkserver.py, anything else, and everything while no server
 * answers, in /usr/bin/python3.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PYTHON "/usr/bin/python3"
#define SERVER "/run/lab-python.socket"

extern char **environ;

static int pass_on(int server)
{
    static char text[1 << 20];
    size_t used = sizeof(uint32_t);
    if (!getcwd(text + used, 4096))
        return 0;
    used += strlen(text + used) + 1;
    for (char **variable = environ; *variable; variable++) {
        size_t length = strlen(*variable) + 1;
        if (used + length > sizeof text)
            return 0;
        memcpy(text + used, *variable, length);
        used += length;
    }
    uint32_t size = (uint32_t)(used - sizeof(uint32_t));
    memcpy(text, &size, sizeof size);

    int descriptors[3] = {0, 1, 2};
    union {
        char space[CMSG_SPACE(sizeof descriptors)];
        struct cmsghdr align;
    } control;
    struct iovec part = {text, used};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof descriptors);
    memcpy(CMSG_DATA(rights), descriptors, sizeof descriptors);
    ssize_t sent = sendmsg(server, &message, MSG_NOSIGNAL);
    if (sent < 0)
        return 0;
    for (size_t done = (size_t)sent; done < used; done += (size_t)sent)
        if ((sent = send(server, text + done, used - done, MSG_NOSIGNAL)) <= 0)
            return 0;
    return 1;
}

int main(int argc, char **argv)
{
    int server = argc == 1 ? socket(AF_UNIX, SOCK_STREAM, 0) : -1;
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SERVER};
    if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof address) < 0 || !pass_on(server)) {
        argv[0] = PYTHON;
        execv(PYTHON, argv);
        return 127;
    }
    /* the program holds its own copies: who waits for the end of the output must not wait for this process */
    close(0);
    close(1);
    int32_t status;
    if (recv(server, &status, sizeof status, MSG_WAITALL) != sizeof status)
        return 255;
    if (status < 0) {
        signal(-status, SIG_DFL);
        kill(getpid(), -status);
    }
    return status;
}
