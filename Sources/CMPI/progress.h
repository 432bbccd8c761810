// MPI moves messages only while it is called. Between the calls of a rank that computes for long, a thread calls it.
#pragma once

/// Entered around every call of MPI that moves messages, but MPI_Abort: one thread at a time may be in it
/// (MPI_THREAD_SERIALIZED). Not around MPI_Init and MPI_Finalize, when the thread is not there, nor around what only looks
/// something up. The thread stays away while another one is inside, which moves messages itself.
void cmpi_enter(void);
void cmpi_leave(void);

/// Counts a communication that has been started; while there are any the thread looks after them.
void cmpi_started(void);
/// Counts one that has completed.
void cmpi_completed(void);

/// Starts the thread; without one, as where none can be made, messages move in calls of MPI alone.
void cmpi_begin_progress(void);
/// Ends it. Nothing may be under way.
void cmpi_end_progress(void);
