/* The limit: sends ready bytes on the sockets whose descriptors are its arguments, and nothing around it.

   stdin, again and again: a line with a number, and so many bytes, to be sent to each. stdout, behind each: the CPU time
   that the sends have taken, in nanoseconds. It ends with stdin. */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static long long cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int send_whole(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent >= 0) {
            bytes += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};

            poll(&room, 1, -1);
        } else if (errno != EINTR)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int *fds = calloc((size_t)argc, sizeof *fds);
    char line[64];

    for (int at = 1; at < argc; at++)
        fds[at] = atoi(argv[at]);
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t size = (size_t)atoll(line);
        char *bytes = malloc(size);
        long long before;

        if (bytes == NULL || fread(bytes, 1, size, stdin) != size)
            return 1;
        before = cpu_ns();
        for (int at = 1; at < argc; at++)
            if (send_whole(fds[at], bytes, size) < 0) {
                fprintf(stderr, "a subscriber's connection: %s\n", strerror(errno));
                return 1;
            }
        printf("%lld\n", cpu_ns() - before);
        fflush(stdout);
        free(bytes);
    }
    return 0;
}
