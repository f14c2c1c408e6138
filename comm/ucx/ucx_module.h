#pragma once

/* The one door between the engine and UCX: the table of functions that libtessera_ucx.so fills in.
 * Bodies of messages are active messages of UCP by rendezvous, in error mode PEER: what is
 * outstanding with a peer that is lost or closed ends with a status. One end of each pair connects,
 * the other listens: endpoints that are made of workers' addresses share a TCP connection half by
 * half, and UCX (1.13 to 1.23) uses one after freeing it when both ends are closed while bytes are
 * on their way. Functions of a worker are called by one thread, wake() by any. Those that return
 * int return 0, or a status for which error_text() has words. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TESSERA_UCX_MODULE_VERSION 3
/* const struct TesseraUcxApi* tessera_ucx_module(void) */
#define TESSERA_UCX_MODULE_ENTRY "tessera_ucx_module"

struct TesseraUcxWorker;
struct TesseraUcxPeer;

/* What a worker tells, within progress(), connect(), send() and close(). */
struct TesseraUcxEvents {
  void* context;
  /* Somebody has connected and says who it is, `name` is null: returns its name, and keeps `peer`;
   * null: it is closed. Or the peer of this name, to which this end has connected, sends the hello
   * back, having kept this end: returns the name. */
  void* (*came)(void* context, void* name, const void* hello, size_t hello_bytes, struct TesseraUcxPeer* peer);
  /* A body is about to come. Returns where it goes, and in `token` its name; null: it is dropped. */
  void* (*target)(void* context, const void* header, size_t header_bytes, size_t bytes, void** token);
  void (*received)(void* context, void* token, int status);
  void (*sent)(void* context, void* token, int status);
  /* Nothing more reaches the peer of this name; it is still to be closed. */
  void (*failed)(void* context, void* peer_name, int status);
};

struct TesseraUcxApi {
  uint32_t version;
  /* `net_devices`: as UCX_NET_DEVICES, where that is not set; null: all. `host`: the numeric
   * address to listen at. */
  int (*open)(const char* net_devices, const char* host, const struct TesseraUcxEvents* events,
              struct TesseraUcxWorker** out);
  void (*destroy)(struct TesseraUcxWorker* worker);
  /* Where it listens, in bytes that stay the worker's. */
  void (*address)(struct TesseraUcxWorker* worker, const void** address, size_t* bytes);
  /* `hello` (copied) is what the other end is told by `came`; it may refuse without a word. */
  int (*connect)(struct TesseraUcxWorker* worker, const void* address, size_t bytes,
                 const void* hello, size_t hello_bytes, void* name, struct TesseraUcxPeer** out);
  /* Nobody else is to come: who holds a port open with UCX (1.13) can be brought down by words that
   * are not UCX's. So it can by who connected before this and has not said who it is, which UCX
   * gives no way to close. */
  void (*stop_listening)(struct TesseraUcxWorker* worker);
  /* Header (copied) and body (the caller's until `sent`). Without an error, `sent` is called once. */
  int (*send)(struct TesseraUcxWorker* worker, struct TesseraUcxPeer* peer, const void* header, size_t header_bytes,
              const void* body, size_t bytes, void* token);
  /* Ends what is outstanding with the peer, without asking it. destroy() closes the others. */
  void (*close)(struct TesseraUcxWorker* worker, struct TesseraUcxPeer* peer);
  /* Returns 0 when nothing was to be done. */
  unsigned (*progress)(struct TesseraUcxWorker* worker);
  /* Sleeps until there is something to do, wake() is called, or the time is over. */
  int (*wait)(struct TesseraUcxWorker* worker, int timeout_ms);
  void (*wake)(struct TesseraUcxWorker* worker);
  const char* (*error_text)(int status);
  const char* (*library_version)(void);
};

#ifdef __cplusplus
}
#endif
