#include "comm/ucx/ucx_module.h"

#include <poll.h>
#include <ucp/api/ucp.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <set>
#include <string>
#include <utility>

struct TesseraUcxWorker {
  ucp_context_h context = nullptr;
  ucp_worker_h worker = nullptr;
  ucp_address_t* address = nullptr;
  size_t address_bytes = 0;
  int wake_handle = -1;
  TesseraUcxEvents events{};
  std::set<TesseraUcxPeer*> peers;
};

struct TesseraUcxPeer {
  TesseraUcxWorker* worker = nullptr;
  ucp_ep_h endpoint = nullptr;
  void* name = nullptr;
};

namespace {

constexpr unsigned kMessageId = 1;

/// Of a request: what is told when it ends.
struct Outgoing {
  TesseraUcxWorker* worker;
  void* token;
  std::string header;
};
struct Incoming {
  TesseraUcxWorker* worker;
  void* token;
};

void when_received(void* request, ucs_status_t status, size_t, void* user) {
  auto* incoming = static_cast<Incoming*>(user);
  incoming->worker->events.received(incoming->worker->events.context, incoming->token, status);
  delete incoming;
  ucp_request_free(request);
}

ucs_status_t when_message(void* user, const void* header, size_t header_bytes, void* data,
                          size_t bytes, const ucp_am_recv_param_t* param) {
  auto* worker = static_cast<TesseraUcxWorker*>(user);
  void* token = nullptr;
  void* target = worker->events.target(worker->events.context, header, header_bytes, bytes, &token);
  // A body by rendezvous that is not fetched is dropped, and its sender told so.
  if (target == nullptr) return UCS_OK;
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) {
    std::memcpy(target, data, bytes);
    worker->events.received(worker->events.context, token, UCS_OK);
    return UCS_OK;
  }
  ucp_request_param_t how{};
  how.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
  how.cb.recv_am = when_received;
  auto* incoming = new Incoming{worker, token};
  how.user_data = incoming;
  ucs_status_ptr_t request = ucp_am_recv_data_nbx(worker->worker, data, target, bytes, &how);
  if (UCS_PTR_IS_ERR(request)) {
    delete incoming;
    worker->events.received(worker->events.context, token, UCS_PTR_STATUS(request));
  }
  return UCS_INPROGRESS;
}

void when_failed(void* user, ucp_ep_h, ucs_status_t status) {
  auto* peer = static_cast<TesseraUcxPeer*>(user);
  peer->worker->events.failed(peer->worker->events.context, peer->name, status);
}

void destroy(TesseraUcxWorker* worker) {
  if (worker->address != nullptr) ucp_worker_release_address(worker->worker, worker->address);
  if (worker->worker != nullptr) ucp_worker_destroy(worker->worker);
  if (worker->context != nullptr) ucp_cleanup(worker->context);
  for (TesseraUcxPeer* peer : worker->peers) delete peer;
  delete worker;
}

ucs_status_t make_context(const char* net_devices, TesseraUcxWorker& out) {
  ucp_config_t* config = nullptr;
  ucs_status_t status = ucp_config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) return status;
  if (net_devices != nullptr && std::getenv("UCX_NET_DEVICES") == nullptr)
    status = ucp_config_modify(config, "NET_DEVICES", net_devices);
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  if (status == UCS_OK) status = ucp_init(&params, config, &out.context);
  ucp_config_release(config);
  return status;
}

ucs_status_t make_worker(TesseraUcxWorker& out) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  ucs_status_t status = ucp_worker_create(out.context, &params, &out.worker);
  if (status != UCS_OK) return status;
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG | UCP_AM_HANDLER_PARAM_FIELD_FLAGS;
  handler.id = kMessageId;
  handler.cb = when_message;
  handler.arg = &out;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  status = ucp_worker_set_am_recv_handler(out.worker, &handler);
  if (status == UCS_OK) status = ucp_worker_get_efd(out.worker, &out.wake_handle);
  if (status == UCS_OK)
    status = ucp_worker_get_address(out.worker, &out.address, &out.address_bytes);
  return status;
}

int open(const char* net_devices, const TesseraUcxEvents* events, TesseraUcxWorker** out) {
  auto* worker = new (std::nothrow) TesseraUcxWorker;
  if (worker == nullptr) return UCS_ERR_NO_MEMORY;
  worker->events = *events;
  ucs_status_t status = make_context(net_devices, *worker);
  if (status == UCS_OK) status = make_worker(*worker);
  if (status != UCS_OK) {
    destroy(worker);
    return status;
  }
  *out = worker;
  return 0;
}

void address(TesseraUcxWorker* worker, const void** out, size_t* bytes) {
  *out = worker->address;
  *bytes = worker->address_bytes;
}

int connect(TesseraUcxWorker* worker, const void* address, void* name, TesseraUcxPeer** out) {
  auto* peer = new (std::nothrow) TesseraUcxPeer{worker, nullptr, name};
  if (peer == nullptr) return UCS_ERR_NO_MEMORY;
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = static_cast<const ucp_address_t*>(address);
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = when_failed;
  params.err_handler.arg = peer;
  const ucs_status_t status = ucp_ep_create(worker->worker, &params, &peer->endpoint);
  if (status != UCS_OK) {
    delete peer;
    return status;
  }
  worker->peers.insert(peer);
  *out = peer;
  return 0;
}

void when_sent(void* request, ucs_status_t status, void* user) {
  auto* outgoing = static_cast<Outgoing*>(user);
  outgoing->worker->events.sent(outgoing->worker->events.context, outgoing->token, status);
  delete outgoing;
  ucp_request_free(request);
}

int send(TesseraUcxWorker* worker, TesseraUcxPeer* peer, const void* header, size_t header_bytes,
         const void* body, size_t bytes, void* token) {
  // UCX may read the header until the message is out.
  auto* outgoing = new Outgoing{worker, token, {static_cast<const char*>(header), header_bytes}};
  ucp_request_param_t how{};
  how.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                     UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
  how.cb.send = when_sent;
  how.user_data = outgoing;
  how.flags = UCP_AM_SEND_FLAG_RNDV;
  ucs_status_ptr_t request = ucp_am_send_nbx(peer->endpoint, kMessageId, outgoing->header.data(),
                                             header_bytes, body, bytes, &how);
  if (!UCS_PTR_IS_ERR(request)) return 0;
  delete outgoing;
  return UCS_PTR_STATUS(request);
}

void close(TesseraUcxWorker* worker, TesseraUcxPeer* peer) {
  ucp_request_param_t how{};
  how.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  how.flags = UCP_EP_CLOSE_FLAG_FORCE;
  ucs_status_ptr_t request = ucp_ep_close_nbx(peer->endpoint, &how);
  if (UCS_PTR_IS_PTR(request)) {
    while (ucp_request_check_status(request) == UCS_INPROGRESS) ucp_worker_progress(worker->worker);
    ucp_request_free(request);
  }
  worker->peers.erase(peer);
  delete peer;
}

unsigned progress(TesseraUcxWorker* worker) { return ucp_worker_progress(worker->worker); }

int wait(TesseraUcxWorker* worker, int timeout_ms) {
  const ucs_status_t status = ucp_worker_arm(worker->worker);
  if (status == UCS_ERR_BUSY) return 0;  // something has come
  if (status != UCS_OK) return status;
  pollfd handle{worker->wake_handle, POLLIN, 0};
  if (::poll(&handle, 1, timeout_ms) < 0 && errno != EINTR) return UCS_ERR_IO_ERROR;
  return 0;
}

void wake(TesseraUcxWorker* worker) { ucp_worker_signal(worker->worker); }

const char* error_text(int status) { return ucs_status_string(static_cast<ucs_status_t>(status)); }

const char* library_version() { return ucp_get_version_string(); }

}  // namespace

extern "C" __attribute__((visibility("default"))) const TesseraUcxApi* tessera_ucx_module() {
  static const TesseraUcxApi kApi = {TESSERA_UCX_MODULE_VERSION,
                                     open,
                                     destroy,
                                     address,
                                     connect,
                                     send,
                                     close,
                                     progress,
                                     wait,
                                     wake,
                                     error_text,
                                     library_version};
  return &kApi;
}
