#include "comm/ucx/ucx_module.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <ucp/api/ucp.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <utility>
#include <vector>

struct TesseraUcxWorker {
  ucp_context_h context = nullptr;
  ucp_worker_h worker = nullptr;
  ucp_listener_h listener = nullptr;
  sockaddr_storage address{};
  size_t address_bytes = 0;
  int wake_handle = -1;
  TesseraUcxEvents events{};
  std::map<ucp_ep_h, TesseraUcxPeer*> peers;
  std::vector<ucp_conn_request_h> requests;  // of those who want to connect
  std::vector<TesseraUcxPeer*> unwanted;
  std::vector<std::pair<TesseraUcxPeer*, std::string>> welcomes;  // hellos to be sent back
};

struct TesseraUcxPeer {
  TesseraUcxWorker* worker = nullptr;
  ucp_ep_h endpoint = nullptr;
  void* name = nullptr;   // null: it has not said who it is
  bool unwanted = false;  // to be closed
  bool came = false;      // both ends know each other
};

namespace {

constexpr unsigned kMessageId = 1;
constexpr unsigned kHelloId = 2;

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

// Endpoints are made and closed outside of UCX's calls.
void close_soon(TesseraUcxPeer* peer) {
  if (!std::exchange(peer->unwanted, true)) peer->worker->unwanted.push_back(peer);
}

void when_wanted(ucp_conn_request_h request, void* user) {
  static_cast<TesseraUcxWorker*>(user)->requests.push_back(request);
}

ucs_status_t when_hello(void* user, const void* header, size_t header_bytes, void*, size_t,
                        const ucp_am_recv_param_t* param) {
  auto* worker = static_cast<TesseraUcxWorker*>(user);
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) return UCS_OK;
  const auto found = worker->peers.find(param->reply_ep);
  // A hello may have been on its way when its endpoint failed, and is to be closed.
  if (found == worker->peers.end() || found->second->unwanted || found->second->came) return UCS_OK;
  TesseraUcxPeer* peer = found->second;
  const bool asks = peer->name == nullptr;
  void* name = worker->events.came(worker->events.context, peer->name, header, header_bytes, peer);
  if (name == nullptr) {
    if (asks) close_soon(peer);
    return UCS_OK;
  }
  peer->name = name;
  peer->came = true;
  if (asks)
    worker->welcomes.emplace_back(peer,
                                  std::string(static_cast<const char*>(header), header_bytes));
  return UCS_OK;
}

void when_failed(void* user, ucp_ep_h, ucs_status_t status) {
  auto* peer = static_cast<TesseraUcxPeer*>(user);
  if (peer->name != nullptr) {
    peer->worker->events.failed(peer->worker->events.context, peer->name, status);
  } else {
    close_soon(peer);
  }
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
  worker->peers.erase(peer->endpoint);
  std::erase_if(worker->welcomes, [peer](const auto& welcome) { return welcome.first == peer; });
  delete peer;
}

void stop_listening(TesseraUcxWorker* worker) {
  if (worker->listener == nullptr) return;
  for (ucp_conn_request_h request : std::exchange(worker->requests, {}))
    ucp_listener_reject(worker->listener, request);
  ucp_listener_destroy(std::exchange(worker->listener, nullptr));
  for (const auto& [endpoint, peer] : worker->peers) {
    if (peer->name == nullptr) close_soon(peer);
  }
}

void destroy(TesseraUcxWorker* worker) {
  stop_listening(worker);
  while (!worker->peers.empty()) close(worker, worker->peers.begin()->second);
  if (worker->worker != nullptr) ucp_worker_destroy(worker->worker);
  if (worker->context != nullptr) ucp_cleanup(worker->context);
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

ucs_status_t listen_to(TesseraUcxWorker& worker, unsigned id, ucp_am_recv_callback_t call) {
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG | UCP_AM_HANDLER_PARAM_FIELD_FLAGS;
  handler.id = id;
  handler.cb = call;
  handler.arg = &worker;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  return ucp_worker_set_am_recv_handler(worker.worker, &handler);
}

ucs_status_t make_worker(TesseraUcxWorker& out) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  ucs_status_t status = ucp_worker_create(out.context, &params, &out.worker);
  if (status != UCS_OK) return status;
  status = listen_to(out, kMessageId, when_message);
  if (status == UCS_OK) status = listen_to(out, kHelloId, when_hello);
  if (status == UCS_OK) status = ucp_worker_get_efd(out.worker, &out.wake_handle);
  return status;
}

ucs_status_t make_listener(const char* host, TesseraUcxWorker& out) {
  sockaddr_storage at{};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&at);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&at);
  if (::inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    out.address_bytes = sizeof *v4;
  } else if (::inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    out.address_bytes = sizeof *v6;
  } else {
    return UCS_ERR_INVALID_ADDR;
  }
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr.addr = reinterpret_cast<const sockaddr*>(&at);
  params.sockaddr.addrlen = static_cast<socklen_t>(out.address_bytes);
  params.conn_handler.cb = when_wanted;
  params.conn_handler.arg = &out;
  ucs_status_t status = ucp_listener_create(out.worker, &params, &out.listener);
  if (status != UCS_OK) return status;
  ucp_listener_attr_t is{};
  is.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  status = ucp_listener_query(out.listener, &is);
  out.address = is.sockaddr;
  return status;
}

int open(const char* net_devices, const char* host, const TesseraUcxEvents* events,
         TesseraUcxWorker** out) {
  auto* worker = new (std::nothrow) TesseraUcxWorker;
  if (worker == nullptr) return UCS_ERR_NO_MEMORY;
  worker->events = *events;
  ucs_status_t status = make_context(net_devices, *worker);
  if (status == UCS_OK) status = make_worker(*worker);
  if (status == UCS_OK) status = make_listener(host, *worker);
  if (status != UCS_OK) {
    destroy(worker);
    return status;
  }
  *out = worker;
  return 0;
}

void address(TesseraUcxWorker* worker, const void** out, size_t* bytes) {
  *out = &worker->address;
  *bytes = worker->address_bytes;
}

// An endpoint as `params` says, of which failures are told.
ucs_status_t make_peer(TesseraUcxWorker* worker, ucp_ep_params_t params, void* name,
                       TesseraUcxPeer** out) {
  auto* peer = new (std::nothrow) TesseraUcxPeer{worker, nullptr, name, false};
  if (peer == nullptr) return UCS_ERR_NO_MEMORY;
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = when_failed;
  params.err_handler.arg = peer;
  const ucs_status_t status = ucp_ep_create(worker->worker, &params, &peer->endpoint);
  if (status != UCS_OK) {
    delete peer;
    return status;
  }
  worker->peers.emplace(peer->endpoint, peer);
  *out = peer;
  return UCS_OK;
}

void when_hello_sent(void* request, ucs_status_t, void* user) {
  delete static_cast<std::string*>(user);
  ucp_request_free(request);
}

ucs_status_t send_hello(const TesseraUcxPeer& peer, const void* hello, size_t bytes) {
  auto* text = new std::string(static_cast<const char*>(hello), bytes);
  ucp_request_param_t how{};
  how.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                     UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
  how.cb.send = when_hello_sent;
  how.user_data = text;
  how.flags = UCP_AM_SEND_FLAG_EAGER | UCP_AM_SEND_FLAG_REPLY;
  ucs_status_ptr_t request =
      ucp_am_send_nbx(peer.endpoint, kHelloId, text->data(), bytes, nullptr, 0, &how);
  if (!UCS_PTR_IS_ERR(request)) return UCS_OK;
  delete text;
  return UCS_PTR_STATUS(request);
}

int connect(TesseraUcxWorker* worker, const void* address, size_t bytes, const void* hello,
            size_t hello_bytes, void* name, TesseraUcxPeer** out) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr.addr = static_cast<const sockaddr*>(address);
  params.sockaddr.addrlen = static_cast<socklen_t>(bytes);
  const ucs_status_t status = make_peer(worker, params, name, out);
  if (status != UCS_OK) return status;
  return send_hello(**out, hello, hello_bytes);
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

unsigned progress(TesseraUcxWorker* worker) {
  const unsigned done = ucp_worker_progress(worker->worker);
  for (ucp_conn_request_h request : std::exchange(worker->requests, {})) {
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
    params.conn_request = request;
    TesseraUcxPeer* peer = nullptr;
    make_peer(worker, params, nullptr, &peer);  // who is refused hears of it, or waits in vain
  }
  for (const auto& [peer, hello] : std::exchange(worker->welcomes, {})) {
    if (peer->unwanted) continue;
    const ucs_status_t status = send_hello(*peer, hello.data(), hello.size());
    if (status != UCS_OK) worker->events.failed(worker->events.context, peer->name, status);
  }
  for (TesseraUcxPeer* peer : std::exchange(worker->unwanted, {})) close(worker, peer);
  return done;
}

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
                                     stop_listening,
                                     send,
                                     close,
                                     progress,
                                     wait,
                                     wake,
                                     error_text,
                                     library_version};
  return &kApi;
}
