#pragma once

/* The one door between the engine and NCCL: the table of functions that libtessera_nccl.so fills
 * in. A link is a communicator of two devices of different ranks, over which bytes go one way:
 * number 0 sends, number 1 receives. Both ends connect at once and without waiting: state() says
 * when the link is there, and whether calls since then have come through. Functions return 0, or a
 * status for which error_text() has words. A link belongs to one thread at a time. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TESSERA_NCCL_MODULE_VERSION 1
/* const struct TesseraNcclApi* tessera_nccl_module(void) */
#define TESSERA_NCCL_MODULE_ENTRY "tessera_nccl_module"

enum {
  TESSERA_NCCL_OK = 0,
  TESSERA_NCCL_IN_PROGRESS = 7, /* ncclInProgress */
  TESSERA_NCCL_ID_BYTES = 128   /* NCCL_UNIQUE_ID_BYTES */
};

struct TesseraNcclApi {
  uint32_t version; /* TESSERA_NCCL_MODULE_VERSION */
  /* "NCCL 2.28.9"; valid until the end. */
  const char* (*library_version)(void);
  /* Why NCCL cannot be used (no library), or null. */
  const char* (*unavailable)(void);
  const char* (*error_text)(int status);
  /* Fills in TESSERA_NCCL_ID_BYTES bytes that both ends of a link give to connect(). */
  int (*unique_id)(void* id);
  /* On the calling thread's current device. */
  int (*connect)(int number, const void* id, void** link);
  /* TESSERA_NCCL_IN_PROGRESS until what was asked of the link has been done or put on its stream.
   */
  int (*state)(void* link);
  /* Queue one message on a stream of the link's device. The n-th sent is the n-th received. */
  int (*send)(void* link, const void* data, size_t bytes, void* stream);
  int (*receive)(void* link, void* data, size_t bytes, void* stream);
  /* Ends a link and what is under way on it, whatever the other end does. */
  void (*abort)(void* link);
};

#ifdef __cplusplus
}
#endif
