// MPI as Swift can import it.
//
// In mpi.h communicators, data types and operations are macros, which Swift does not see; here they are functions and
// enumerations. mpi.h itself is not included, so a module that imports CMPI sees these names only.
//
// Every function that returns `int` returns MPI's error code, CMPI_SUCCESS (0) when all is well. Counts are MPI's `int`:
// callers cut longer messages into pieces.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { CMPI_SUCCESS = 0, CMPI_MAX_ERROR_TEXT = 512 };

/// An MPI communicator; NULL is no communicator.
typedef void *cmpi_comm;
/// An MPI request; NULL is no request, or a completed one.
typedef void *cmpi_request;

typedef enum cmpi_type { CMPI_TYPE_BYTE, CMPI_TYPE_FLOAT, CMPI_TYPE_DOUBLE, CMPI_TYPE_INT64 } cmpi_type;
typedef enum cmpi_op { CMPI_OP_SUM, CMPI_OP_MIN, CMPI_OP_MAX } cmpi_op;

/// Starts MPI for one thread at a time (MPI_THREAD_SERIALIZED) and makes errors return instead of ending the process. Where
/// there are several ranks, a thread moves messages while none of these functions is called.
int cmpi_init(void);
int cmpi_finalize(void);
/// Non-zero between cmpi_init and cmpi_finalize.
int cmpi_is_running(void);
/// Ends all processes of the communicator; returns only if MPI fails to.
int cmpi_abort(cmpi_comm _Nullable comm, int code);
/// Writes the zero-terminated text of an error code, at most CMPI_MAX_ERROR_TEXT bytes.
void cmpi_error_text(int code, char *_Nonnull text);

cmpi_comm _Nullable cmpi_world(void);
int cmpi_rank(cmpi_comm _Nullable comm, int *_Nonnull rank);
int cmpi_size(cmpi_comm _Nullable comm, int *_Nonnull size);
/// Collective. A negative color takes part and gets NULL.
int cmpi_split(cmpi_comm _Nullable comm, int color, int key, cmpi_comm _Nullable *_Nonnull result);
/// How many ranks of the communicator share memory with this one, itself among them. Collective.
int cmpi_node_size(cmpi_comm _Nullable comm, int *_Nonnull size);
/// Cores this rank has: of each it may run on, the part that falls to it of all ranks of its machine that may; and its part of
/// `quota`, cores' worth of time that all these ranks may use together (not positive: no limit). Collective.
int cmpi_core_share(cmpi_comm _Nullable comm, double quota, double *_Nonnull share);

int cmpi_barrier(cmpi_comm _Nullable comm);
/// In place.
int cmpi_allreduce(cmpi_comm _Nullable comm, void *_Nullable data, int count, cmpi_type type, cmpi_op op);
/// In place; `data` belongs to MPI until the request completes.
int cmpi_iallreduce(
    cmpi_comm _Nullable comm, void *_Nullable data, int count, cmpi_type type, cmpi_op op,
    cmpi_request _Nullable *_Nonnull request);
int cmpi_bcast(cmpi_comm _Nullable comm, void *_Nullable data, int count, cmpi_type type, int root);
/// In place. `counts` and `offsets`, in elements, of every rank's part of `data`.
int cmpi_allgatherv(
    cmpi_comm _Nullable comm, void *_Nullable data, cmpi_type type, const int *_Nonnull counts, const int *_Nonnull offsets);

int cmpi_send(cmpi_comm _Nullable comm, const void *_Nullable data, int count, cmpi_type type, int peer, int tag);
/// Fails unless exactly `count` elements arrive.
int cmpi_recv(cmpi_comm _Nullable comm, void *_Nullable data, int count, cmpi_type type, int peer, int tag);
int cmpi_isend(
    cmpi_comm _Nullable comm, const void *_Nullable data, int count, cmpi_type type, int peer, int tag,
    cmpi_request _Nullable *_Nonnull request);
int cmpi_irecv(
    cmpi_comm _Nullable comm, void *_Nullable data, int count, cmpi_type type, int peer, int tag,
    cmpi_request _Nullable *_Nonnull request);
/// Sets `done` when the request has completed, and `request` to NULL with it. Of a receive `bytes` must have arrived, exactly;
/// negative for other requests.
int cmpi_test(cmpi_request _Nullable *_Nonnull request, int bytes, int *_Nonnull done);
int cmpi_wait(cmpi_request _Nullable *_Nonnull request, int bytes);

/// Whether the library is Open MPI of a version whose sums in the background are right in place also by Rabenseifner's
/// algorithm: those before 4.1.2 sum fewer elements than ranks incorrectly (open-mpi/ompi issue 9385). May be called before
/// cmpi_init.
int cmpi_sums_few_in_place(void);

/// Whether the kernel lets a process read another one's memory (process_vm_readv), tried on this process itself: containers
/// often refuse the call to all. Open MPI would then warn of every longer message.
int cmpi_may_read_memory(void);

/// Cores this process may run on, at least 1 (sched_getaffinity is a GNU extension, which Swift does not import either).
int cmpi_available_cores(void);
