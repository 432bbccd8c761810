#define _GNU_SOURCE
#include "CMPI.h"
#include "progress.h"

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

// Handles are pointers in Open MPI and integers in MPICH; both fit in a pointer, and are copied bit by bit.
_Static_assert(sizeof(MPI_Comm) <= sizeof(void *), "a communicator fits in a pointer");
_Static_assert(sizeof(MPI_Request) <= sizeof(void *), "a request fits in a pointer");
_Static_assert(CMPI_MAX_ERROR_TEXT >= MPI_MAX_ERROR_STRING, "every error text fits");
_Static_assert(CMPI_SUCCESS == MPI_SUCCESS, "success is the same number");

static cmpi_comm wrap_comm(MPI_Comm comm) {
    cmpi_comm result = NULL;
    if (comm != MPI_COMM_NULL) memcpy(&result, &comm, sizeof comm);
    return result;
}

static MPI_Comm unwrap_comm(cmpi_comm comm) {
    if (comm == NULL) return MPI_COMM_NULL;
    MPI_Comm result;
    memcpy(&result, &comm, sizeof result);
    return result;
}

static cmpi_request wrap_request(MPI_Request request) {
    cmpi_request result = NULL;
    if (request != MPI_REQUEST_NULL) memcpy(&result, &request, sizeof request);
    return result;
}

static MPI_Request unwrap_request(cmpi_request request) {
    if (request == NULL) return MPI_REQUEST_NULL;
    MPI_Request result;
    memcpy(&result, &request, sizeof result);
    return result;
}

static MPI_Datatype datatype(cmpi_type type) {
    switch (type) {
    case CMPI_TYPE_BYTE: return MPI_BYTE;
    case CMPI_TYPE_FLOAT: return MPI_FLOAT;
    case CMPI_TYPE_DOUBLE: return MPI_DOUBLE;
    case CMPI_TYPE_INT64: return MPI_INT64_T;
    }
    return MPI_DATATYPE_NULL;
}

static MPI_Op operation(cmpi_op op) {
    switch (op) {
    case CMPI_OP_SUM: return MPI_SUM;
    case CMPI_OP_MIN: return MPI_MIN;
    case CMPI_OP_MAX: return MPI_MAX;
    }
    return MPI_OP_NULL;
}

int cmpi_init(void) {
    int provided = 0;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
    if (code != MPI_SUCCESS) return code;
    if (provided < MPI_THREAD_SERIALIZED) return MPI_ERR_UNSUPPORTED_OPERATION;
    // Communicators split from the world inherit its handler.
    code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code != MPI_SUCCESS) return code;
    code = MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    int size = 1;
    if (code == MPI_SUCCESS) code = MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (code == MPI_SUCCESS && size > 1) cmpi_begin_progress();
    return code;
}

int cmpi_finalize(void) {
    cmpi_end_progress();
    return MPI_Finalize();
}

int cmpi_is_running(void) {
    int started = 0, ended = 0;
    if (MPI_Initialized(&started) != MPI_SUCCESS || MPI_Finalized(&ended) != MPI_SUCCESS) return 0;
    return started && !ended;
}

int cmpi_abort(cmpi_comm comm, int code) { return MPI_Abort(unwrap_comm(comm), code); }

void cmpi_error_text(int code, char *text) {
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) text[0] = 0;
}

cmpi_comm cmpi_world(void) { return wrap_comm(MPI_COMM_WORLD); }

int cmpi_rank(cmpi_comm comm, int *rank) { return MPI_Comm_rank(unwrap_comm(comm), rank); }

int cmpi_size(cmpi_comm comm, int *size) { return MPI_Comm_size(unwrap_comm(comm), size); }

int cmpi_split(cmpi_comm comm, int color, int key, cmpi_comm *result) {
    MPI_Comm part = MPI_COMM_NULL;
    cmpi_enter();
    int code = MPI_Comm_split(unwrap_comm(comm), color < 0 ? MPI_UNDEFINED : color, key, &part);
    cmpi_leave();
    *result = wrap_comm(part);
    return code;
}

static int node_size(MPI_Comm comm, int *size) {
    MPI_Comm node = MPI_COMM_NULL;
    int code = MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    if (code != MPI_SUCCESS) return code;
    code = MPI_Comm_size(node, size);
    int freed = MPI_Comm_free(&node);
    return code != MPI_SUCCESS ? code : freed;
}

int cmpi_node_size(cmpi_comm comm, int *size) {
    cmpi_enter();
    int code = node_size(unwrap_comm(comm), size);
    cmpi_leave();
    return code;
}

static int core_share(MPI_Comm comm, double quota, double *share) {
    cpu_set_t set;
    // Where the machine has more cores than a set has room for, nothing is known: one core.
    int known = sched_getaffinity(0, sizeof set, &set) == 0;
    if (!known) CPU_ZERO(&set);
    int ranks[CPU_SETSIZE];
    for (int core = 0; core < CPU_SETSIZE; core++) ranks[core] = CPU_ISSET(core, &set) ? 1 : 0;
    MPI_Comm node = MPI_COMM_NULL;
    int code = MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    if (code != MPI_SUCCESS) return code;
    code = MPI_Allreduce(MPI_IN_PLACE, ranks, CPU_SETSIZE, MPI_INT, MPI_SUM, node);
    int local = 1;
    if (code == MPI_SUCCESS) code = MPI_Comm_size(node, &local);
    int freed = MPI_Comm_free(&node);
    *share = known ? 0 : 1;
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &set)) *share += 1.0 / ranks[core];
    if (quota > 0 && *share > quota / local) *share = quota / local;
    return code != MPI_SUCCESS ? code : freed;
}

int cmpi_core_share(cmpi_comm comm, double quota, double *share) {
    cmpi_enter();
    int code = core_share(unwrap_comm(comm), quota, share);
    cmpi_leave();
    return code;
}

int cmpi_barrier(cmpi_comm comm) {
    cmpi_enter();
    int code = MPI_Barrier(unwrap_comm(comm));
    cmpi_leave();
    return code;
}

int cmpi_allreduce(cmpi_comm comm, void *data, int count, cmpi_type type, cmpi_op op) {
    cmpi_enter();
    int code = MPI_Allreduce(MPI_IN_PLACE, data, count, datatype(type), operation(op), unwrap_comm(comm));
    cmpi_leave();
    return code;
}

int cmpi_iallreduce(cmpi_comm comm, void *data, int count, cmpi_type type, cmpi_op op, cmpi_request *request) {
    MPI_Request value = MPI_REQUEST_NULL;
    cmpi_enter();
    int code = MPI_Iallreduce(MPI_IN_PLACE, data, count, datatype(type), operation(op), unwrap_comm(comm), &value);
    cmpi_leave();
    if (code == MPI_SUCCESS) cmpi_started();
    *request = wrap_request(value);
    return code;
}

int cmpi_bcast(cmpi_comm comm, void *data, int count, cmpi_type type, int root) {
    cmpi_enter();
    int code = MPI_Bcast(data, count, datatype(type), root, unwrap_comm(comm));
    cmpi_leave();
    return code;
}

int cmpi_allgatherv(cmpi_comm comm, void *data, cmpi_type type, const int *counts, const int *offsets) {
    cmpi_enter();
    int code = MPI_Allgatherv(
        MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, counts, offsets, datatype(type), unwrap_comm(comm));
    cmpi_leave();
    return code;
}

int cmpi_send(cmpi_comm comm, const void *data, int count, cmpi_type type, int peer, int tag) {
    cmpi_enter();
    int code = MPI_Send(data, count, datatype(type), peer, tag, unwrap_comm(comm));
    cmpi_leave();
    return code;
}

int cmpi_recv(cmpi_comm comm, void *data, int count, cmpi_type type, int peer, int tag) {
    MPI_Status status;
    cmpi_enter();
    int code = MPI_Recv(data, count, datatype(type), peer, tag, unwrap_comm(comm), &status);
    cmpi_leave();
    if (code != MPI_SUCCESS) return code;
    int received = 0;
    code = MPI_Get_count(&status, datatype(type), &received);
    if (code != MPI_SUCCESS) return code;
    return received == count ? MPI_SUCCESS : MPI_ERR_TRUNCATE;
}

int cmpi_isend(cmpi_comm comm, const void *data, int count, cmpi_type type, int peer, int tag, cmpi_request *request) {
    MPI_Request value = MPI_REQUEST_NULL;
    cmpi_enter();
    int code = MPI_Isend(data, count, datatype(type), peer, tag, unwrap_comm(comm), &value);
    cmpi_leave();
    if (code == MPI_SUCCESS) cmpi_started();
    *request = wrap_request(value);
    return code;
}

int cmpi_irecv(cmpi_comm comm, void *data, int count, cmpi_type type, int peer, int tag, cmpi_request *request) {
    MPI_Request value = MPI_REQUEST_NULL;
    cmpi_enter();
    int code = MPI_Irecv(data, count, datatype(type), peer, tag, unwrap_comm(comm), &value);
    cmpi_leave();
    if (code == MPI_SUCCESS) cmpi_started();
    *request = wrap_request(value);
    return code;
}

static int check_received(MPI_Status *status, int bytes) {
    int received = 0;
    int code = MPI_Get_count(status, MPI_BYTE, &received);
    if (code != MPI_SUCCESS) return code;
    return received == bytes ? MPI_SUCCESS : MPI_ERR_TRUNCATE;
}

int cmpi_test(cmpi_request *request, int bytes, int *done) {
    MPI_Request value = unwrap_request(*request);
    MPI_Status status;
    cmpi_enter();
    int code = MPI_Test(&value, done, &status);
    cmpi_leave();
    if (*request != NULL && value == MPI_REQUEST_NULL) cmpi_completed();
    *request = wrap_request(value);
    return code == MPI_SUCCESS && *done && bytes >= 0 ? check_received(&status, bytes) : code;
}

int cmpi_wait(cmpi_request *request, int bytes) {
    MPI_Request value = unwrap_request(*request);
    MPI_Status status;
    cmpi_enter();
    int code = MPI_Wait(&value, &status);
    cmpi_leave();
    if (*request != NULL && value == MPI_REQUEST_NULL) cmpi_completed();
    *request = wrap_request(value);
    return code == MPI_SUCCESS && bytes >= 0 ? check_received(&status, bytes) : code;
}

int cmpi_available_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int cmpi_sums_few_in_place(void) {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length, major, minor, release;
    if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return 0;
    if (sscanf(text, "Open MPI v%d.%d.%d", &major, &minor, &release) != 3) return 0;
    return major > 4 || (major == 4 && (minor > 1 || (minor == 1 && release >= 2)));
}

int cmpi_may_read_memory(void) {
    char source = 1, target = 0;
    struct iovec from = {&source, 1}, to = {&target, 1};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}
