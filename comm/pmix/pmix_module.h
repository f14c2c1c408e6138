#pragma once

/* The one door between the engine and PMIx: the table of functions that libtessera_pmix.so fills in. Only what it takes
 * for the ranks of a launcher's job to find each other is behind it. Every function returns 0, or a status for which
 * error_text() has words. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TESSERA_PMIX_MODULE_VERSION 1
/* const struct TesseraPmixApi* tessera_pmix_module(void) */
#define TESSERA_PMIX_MODULE_ENTRY "tessera_pmix_module"

struct TesseraPmixApi {
  uint32_t version;
  /* Connects with the launcher's server: this process's number, how many there are, how many of them on this machine. */
  int (*init)(uint32_t* rank, uint32_t* ranks, uint32_t* ranks_here);
  /* Every rank calls it: gives all of them the text of rank 0, which others leave null. */
  int (*share)(const char* text, char* out, size_t out_bytes);
  int (*finalize)(void);
  const char* (*error_text)(int status);
};

#ifdef __cplusplus
}
#endif
