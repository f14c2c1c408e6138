#pragma once

/* The one door between the engine and CUDA: the table of functions that libtessera_cuda.so fills in
 * with CUDA's runtime, NVRTC, cuBLAS and cuSOLVER. The engine sees no vendor header and links no vendor
 * library; tests fill the table with a simulated machine, or make the n-th call fail.
 *
 * Handles are opaque pointers. Every function returns 0, or the status of the library that it belongs
 * to, for which error_text() has words. Functions that queue work return before it is done. Memory
 * addresses of all devices and of the host are one space: a copy finds out what its ends are. The
 * functions are thread safe as CUDA's are; those that make or use something of a device work on the
 * calling thread's current device, which set_device() chooses. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TESSERA_CUDA_MODULE_VERSION 6
/* const struct TesseraCudaApi* tessera_cuda_module(void) */
#define TESSERA_CUDA_MODULE_ENTRY "tessera_cuda_module"

/* Whose status a number is. */
enum TesseraCudaLibrary {
  TESSERA_CUDA_RUNTIME = 0,
  TESSERA_CUDA_NVRTC = 1,
  TESSERA_CUDA_BLAS = 2,
  TESSERA_CUDA_SOLVER = 3
};

/* Statuses that mean the same in every filling of the table; all others are the library's own. */
enum TesseraCudaStatus {
  TESSERA_CUDA_OK = 0,
  TESSERA_CUDA_OUT_OF_MEMORY = 2, /* cudaErrorMemoryAllocation */
  TESSERA_CUDA_NOT_READY = 600    /* cudaErrorNotReady: of query functions, no failure */
};

/* Element types of BLAS and LAPACK routines. */
enum TesseraCudaType {
  TESSERA_CUDA_FLOAT32 = 0,
  TESSERA_CUDA_FLOAT64 = 1,
  TESSERA_CUDA_COMPLEX64 = 2,
  TESSERA_CUDA_COMPLEX128 = 3
};

/* How an operand of a product is read, in column-major order. */
enum TesseraCudaTranspose {
  TESSERA_CUDA_AS_IS = 0,
  TESSERA_CUDA_TRANSPOSED = 1,
  TESSERA_CUDA_ADJOINT = 2
};

/* How products are computed. Each of the last three says something of float32 and complex64 or of float64 and
 * complex128 alone; the others are computed in full. */
enum TesseraCudaPrecision {
  TESSERA_CUDA_FULL = 0,
  TESSERA_CUDA_TF32 = 1,         /* float32 in tensor cores, operands with 10 bits of mantissa */
  TESSERA_CUDA_BF16X9 = 2,       /* float32 from nine products of bfloat16 */
  TESSERA_CUDA_FIXED_POINT = 3   /* float64 from products of whole numbers */
};

struct TesseraCudaDeviceInfo {
  char name[256];
  char pci_bus_id[32];
  int major, minor;              /* compute capability */
  int multiprocessors;
  int threads_per_multiprocessor;
  size_t shared_bytes_per_block; /* that a kernel may use without asking for more */
  size_t l2_bytes;
  size_t memory_bytes;
  size_t free_bytes;             /* now */
};

struct TesseraCudaApi {
  int version; /* TESSERA_CUDA_MODULE_VERSION */

  /* "CUDA runtime 13.0, driver 13.0, NVRTC 13.0, cuBLAS 13.1.0, cuSOLVER 12.0.4"; valid until the end. */
  const char* (*versions)(void);
  /* Words for a status; never null. */
  const char* (*error_text)(int library, int status);
  /* Why no device can be used ("no driver", "driver too old", "no device"), or null. */
  const char* (*unavailable)(void);

  /* Devices */
  int (*device_count)(int* count);
  int (*device_info)(int device, struct TesseraCudaDeviceInfo* info);
  /* Its PCI address, which makes no context on it. */
  int (*device_address)(int device, char* text, int bytes);
  int (*device_memory)(int device, size_t* bytes); /* all that it has; makes no context either */
  int (*set_device)(int device);
  int (*current_device)(int* device); /* the calling thread's */
  /* Lets `device` read and write the memory of `peer` directly; *direct is 0 where it cannot. */
  int (*enable_peer)(int device, int peer, int* direct);
  int (*synchronize_device)(int device);

  /* Memory. A pool keeps what is freed until it is trimmed. */
  int (*pool_create)(int device, void** pool);
  int (*pool_destroy)(void* pool);
  int (*pool_trim)(void* pool, size_t keep_bytes);
  int (*pool_held_bytes)(void* pool, size_t* bytes);
  int (*pool_allocate)(void** data, size_t bytes, void* pool, void* stream);
  int (*pool_free)(void* data, void* stream);
  int (*host_allocate)(void** data, size_t bytes); /* pinned, for all devices */
  int (*host_free)(void* data);
  /* Whose memory an address lies in: a device's number, or -1 for the host's. */
  int (*memory_device)(const void* data, int* device);

  /* Streams and events. Streams do not wait for the default stream. */
  int (*stream_create)(int device, void** stream);
  int (*stream_destroy)(void* stream);
  int (*stream_synchronize)(void* stream);
  int (*stream_wait)(void* stream, void* event);
  int (*event_create)(int device, void** event);
  int (*event_destroy)(void* event);
  /* A new event behind what is on a stream of the caller's now; null: the device's default stream.
   */
  int (*event_behind)(int device, void* stream, void** event);
  int (*event_record)(void* event, void* stream);
  int (*event_query)(void* event);       /* TESSERA_CUDA_NOT_READY while it has not fired */
  int (*event_synchronize)(void* event); /* the thread sleeps */
  int (*event_elapsed_ms)(float* ms, void* begin, void* end);

  /* Within a device's memory, the host's, or between the two; from one device's memory to another's goes
   * copy_peer(), whether these can reach each other or not. */
  int (*copy)(void* to, const void* from, size_t bytes, void* stream);
  int (*copy_peer)(void* to, int to_device, const void* from, int from_device, size_t bytes, void* stream);
  int (*fill)(void* data, int byte, size_t bytes, void* stream);

  /* Kernels. A cubin serves every device of its architecture. */
  int (*library_load)(void** library, const void* cubin, size_t bytes);
  int (*library_unload)(void* library);
  int (*library_kernel)(void** kernel, void* library, const char* name);
  int (*launch)(void* kernel, const unsigned grid[3], const unsigned block[3], size_t shared_bytes,
                void* stream, void** arguments);

  /* Compiles CUDA C++ to a cubin. *cubin (null after a failure) and *log are freed with compile_free(). */
  int (*compile)(const char* source, const char* name, const char* const* options, int option_count,
                 void** cubin, size_t* cubin_bytes, char** log);
  void (*compile_free)(void* memory);
  /* Names compiler and version, for the keys of a cache of cubins. */
  const char* (*compiler)(void);

  /* cuBLAS. A handle belongs to the device that was current when it was made, and queues its work on
   * the stream set last; the workspace is memory of the device. */
  int (*blas_create)(void** handle);
  int (*blas_destroy)(void* handle);
  int (*blas_set_stream)(void* handle, void* stream);
  int (*blas_set_workspace)(void* handle, void* workspace, size_t bytes);
  /* c = alpha op(a) op(b) + beta c, column-major; scalars lie in host memory and have the type `type`. A
   * precision that the library has not is an error of its. */
  int (*blas_gemm)(void* handle, int type, int precision, int op_a, int op_b, int64_t m, int64_t n, int64_t k,
                   const void* alpha, const void* a, int64_t lda, const void* b, int64_t ldb,
                   const void* beta, void* c, int64_t ldc);

  /* cuSOLVER, 64-bit interface, column-major. `info` is an int in device memory. */
  int (*solver_create)(void** handle);
  int (*solver_destroy)(void* handle);
  int (*solver_set_stream)(void* handle, void* stream);
  /* a (m, n) becomes R above and the reflectors below the diagonal; tau (min(m, n)). */
  int (*solver_geqrf_bytes)(void* handle, int type, int64_t m, int64_t n, int64_t lda,
                            size_t* device_bytes, size_t* host_bytes);
  int (*solver_geqrf)(void* handle, int type, int64_t m, int64_t n, void* a, int64_t lda, void* tau,
                      void* device_work, size_t device_bytes, void* host_work, size_t host_bytes,
                      void* info);
  /* Reflectors of geqrf in a (m, n), n of them, become the first n columns of Q. */
  int (*solver_orgqr_bytes)(void* handle, int type, int64_t m, int64_t n, int64_t lda,
                            size_t* device_bytes);
  int (*solver_orgqr)(void* handle, int type, int64_t m, int64_t n, void* a, int64_t lda,
                      const void* tau, void* device_work, size_t device_bytes, void* info);
  /* a (m, n), m >= n, = u (m, n) diag(s) vt (n, n); a is overwritten; s is real. u and vt null: values only. */
  int (*solver_gesvd_bytes)(void* handle, int type, int vectors, int64_t m, int64_t n,
                            size_t* device_bytes, size_t* host_bytes);
  int (*solver_gesvd)(void* handle, int type, int vectors, int64_t m, int64_t n, void* a, int64_t lda,
                      void* s, void* u, int64_t ldu, void* vt, int64_t ldvt, void* device_work,
                      size_t device_bytes, void* host_work, size_t host_bytes, void* info);

  /* CUB, on the calling thread's current device. A stable sort of `count` pairs by the lowest `bits` bits of
   * unsigned keys of 4 or 8 bytes; values have 4. It goes to and fro between two arrays of each, and *which (0
   * or 1) tells in which values end, keys alike. Statuses are the runtime's. */
  int (*sort_pairs_bytes)(int key_bytes, int64_t count, int bits, size_t* work_bytes);
  int (*sort_pairs)(int key_bytes, void* const keys[2], void* const values[2], int64_t count, int bits,
                    void* work, size_t work_bytes, int* which, void* stream);

  /* Ranges for profilers (NVTX); null where there are none. */
  void (*range_push)(const char* name);
  void (*range_pop)(void);
};

#ifdef __cplusplus
}
#endif
