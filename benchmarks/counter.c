/* Takes what the sockets get whose descriptors are its arguments, and only counts the bytes of each; see `sink.py`.

   stdin: a line each, how many bytes every socket is to have got in all. stdout, once each has: the least and the most
   that one has got. It ends with stdin, and with status 1 where a socket is closed. Linux.

   Between two looks it sleeps for a moment. A client elsewhere does not cost a sender its waking up; one that waits on the
   same machine would, at each send, and as much as the send itself. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 1024
#define SLEEP_US 300
#define MOST (1 << 30)

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

static void answer(const long long *got, int count)
{
    long long least = got[0], most = got[0];

    for (int at = 1; at < count; at++) {
        least = got[at] < least ? got[at] : least;
        most = got[at] > most ? got[at] : most;
    }
    printf("%lld %lld\n", least, most);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const int count = argc - 1, orders = epoll_create1(0);
    long long *got = calloc((size_t)count + 1, sizeof *got), wanted = -1;
    int *fds = calloc((size_t)count + 1, sizeof *fds);
    struct epoll_event ready[EVENTS], one = {.events = EPOLLIN, .data.u32 = (unsigned)count};
    int there = 0;

    if (count == 0 || got == NULL || fds == NULL || orders < 0 || epoll_ctl(orders, EPOLL_CTL_ADD, 0, &one) < 0)
        return fail("the orders");
    for (int at = 0; at < count; at++) {
        one.data.u32 = (unsigned)at;
        fds[at] = atoi(argv[at + 1]);
        if (epoll_ctl(orders, EPOLL_CTL_ADD, fds[at], &one) < 0)
            return fail("a socket");
    }
    for (;;) {
        int some;

        usleep(SLEEP_US);
        some = epoll_wait(orders, ready, EVENTS, -1);
        for (int at = 0; at < some; at++) {
            unsigned which = ready[at].data.u32;

            if (which == (unsigned)count) {
                char line[64];
                ssize_t size = read(0, line, sizeof line - 1);

                if (size <= 0)
                    return 0;
                line[size] = 0;
                wanted = atoll(line);
                there = 0;
                for (int each = 0; each < count; each++)
                    there += got[each] >= wanted;
            } else {
                /* Thrown away by the kernel, not copied. */
                ssize_t size = recv(fds[which], NULL, MOST, MSG_TRUNC | MSG_DONTWAIT);

                if (size < 0 && (errno == EAGAIN || errno == EINTR))
                    continue;
                if (size <= 0)
                    return fail("a subscriber's connection was closed");
                there += got[which] < wanted && got[which] + size >= wanted;
                got[which] += size;
            }
        }
        if (wanted >= 0 && there == count) {
            answer(got, count);
            wanted = -1;
        }
    }
}
