/* The loop of `python.py` beside this file, without the interpreter: one send() a subscriber and nothing around it.

   Built by hatch_build.py where there is a compiler, against the limited API: one file for every CPython from 3.11 on. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE. */
#endif

/* From so many bytes in all on, other threads may run meanwhile: below, taking turns costs more than it gives. */
#define RELEASE_BYTES (64 * 1024)

typedef struct {
    int slot;
    Py_ssize_t sent;
} Rest;

/* What a descriptor takes of `size` bytes now: all, some, or nothing, be it for good. */
static Py_ssize_t send_one(int fd, const char *frames, Py_ssize_t size)
{
    ssize_t sent;

    do
        sent = send(fd, frames, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? 0 : (Py_ssize_t)sent;
}

/* How many have not taken all; which, and how much, is in `rest`, which has room for all of them. */
static Py_ssize_t send_each(const int *fds, const int *slots, Py_ssize_t count, const char *frames, Py_ssize_t size,
                            Rest *rest)
{
    Py_ssize_t left = 0;

    for (Py_ssize_t at = 0; at < count; at++) {
        int fd = fds[slots[at]];
        Py_ssize_t sent = fd < 0 ? 0 : send_one(fd, frames, size);

        if (sent == size)
            continue;
        rest[left].slot = slots[at];
        rest[left].sent = sent;
        left++;
    }
    return left;
}

static PyObject *listed(const Rest *rest, Py_ssize_t left)
{
    PyObject *list = PyList_New(left);

    for (Py_ssize_t at = 0; list != NULL && at < left; at++) {
        PyObject *one = Py_BuildValue("(in)", rest[at].slot, rest[at].sent);

        if (one == NULL || PyList_SetItem(list, at, one) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

static int is_of_ints(const Py_buffer *view)
{
    return view->itemsize == (Py_ssize_t)sizeof(int) && view->format != NULL && view->format[0] == 'i';
}

static PyObject *send_checked(const Py_buffer *fds, const Py_buffer *slots, const char *frames, Py_ssize_t size)
{
    const Py_ssize_t known = fds->len / (Py_ssize_t)sizeof(int), count = slots->len / (Py_ssize_t)sizeof(int);
    const int *numbers = slots->buf;
    PyObject *list;
    Py_ssize_t left;
    Rest *rest;

    for (Py_ssize_t at = 0; at < count; at++)
        if (numbers[at] < 0 || numbers[at] >= known) {
            PyErr_Format(PyExc_IndexError, "there is no slot %d", numbers[at]);
            return NULL;
        }
    /* Untouched, as it mostly stays, it costs nothing. */
    rest = PyMem_Malloc((size_t)(count > 0 ? count : 1) * sizeof(Rest));
    if (rest == NULL)
        return PyErr_NoMemory();
    if (size > RELEASE_BYTES / (count > 0 ? count : 1)) {
        Py_BEGIN_ALLOW_THREADS
        left = send_each(fds->buf, numbers, count, frames, size, rest);
        Py_END_ALLOW_THREADS
    } else
        left = send_each(fds->buf, numbers, count, frames, size, rest);
    list = listed(rest, left);
    PyMem_Free(rest);
    return list;
}

static PyObject *send_all(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *fds_of, *slots_of, *frames_of, *sent = NULL;
    Py_buffer fds, slots;
    Py_ssize_t size;
    char *frames;

    if (!PyArg_ParseTuple(arguments, "OOS:send_all", &fds_of, &slots_of, &frames_of))
        return NULL;
    if (PyBytes_AsStringAndSize(frames_of, &frames, &size) < 0)
        return NULL;
    if (PyObject_GetBuffer(fds_of, &fds, PyBUF_FORMAT | PyBUF_ND) < 0)
        return NULL;
    if (PyObject_GetBuffer(slots_of, &slots, PyBUF_FORMAT | PyBUF_ND) < 0) {
        PyBuffer_Release(&fds);
        return NULL;
    }
    if (is_of_ints(&fds) && is_of_ints(&slots))
        sent = send_checked(&fds, &slots, frames, size);
    else
        PyErr_SetString(PyExc_TypeError, "descriptors and slots have to be of array('i')");
    PyBuffer_Release(&slots);
    PyBuffer_Release(&fds);
    return sent;
}

static PyMethodDef methods[] = {
    {"send_all", send_all, METH_VARARGS, "As `service.ports.SendAll`."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
