#include "comm/nccl/nccl_module.h"

#include <nccl.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "device/cuda/module/vendor_library.hpp"

namespace tessera::comm {
namespace {

static_assert(int{TESSERA_NCCL_OK} == int{ncclSuccess});
static_assert(int{TESSERA_NCCL_IN_PROGRESS} == int{ncclInProgress});
static_assert(int{TESSERA_NCCL_ID_BYTES} == NCCL_UNIQUE_ID_BYTES);

constexpr int kMissingLibrary = -1;
constexpr int kRanks = 2;
// Older libraries have no communicators that connect without waiting.
constexpr int kLeastVersion = NCCL_VERSION(2, 18, 0);

struct Functions {
  Functions() : library({"libnccl.so.2"}) {
#define TESSERA_NCCL_FUNCTION(name) library.bind(name, "nccl" #name)
    TESSERA_NCCL_FUNCTION(GetVersion);
    TESSERA_NCCL_FUNCTION(GetErrorString);
    TESSERA_NCCL_FUNCTION(GetUniqueId);
    TESSERA_NCCL_FUNCTION(CommInitRankConfig);
    TESSERA_NCCL_FUNCTION(CommGetAsyncError);
    TESSERA_NCCL_FUNCTION(CommAbort);
    TESSERA_NCCL_FUNCTION(Send);
    TESSERA_NCCL_FUNCTION(Recv);
#undef TESSERA_NCCL_FUNCTION
    problem = library.problem();
    int number = 0;
    if (!library.loaded()) return;
    GetVersion(&number);
    char text[64];
    std::snprintf(text, sizeof text, "NCCL %d.%d.%d", number / 10000, number / 100 % 100,
                  number % 100);
    version = text;
    if (number < kLeastVersion) problem = version + " is too old: 2.18 or newer is needed";
  }
  bool there() const noexcept { return problem.empty(); }

  device::cuda::vendor::SharedLibrary library;
  std::string problem;
  std::string version;
  decltype(&ncclGetVersion) GetVersion = nullptr;
  decltype(&ncclGetErrorString) GetErrorString = nullptr;
  decltype(&ncclGetUniqueId) GetUniqueId = nullptr;
  decltype(&ncclCommInitRankConfig) CommInitRankConfig = nullptr;
  decltype(&ncclCommGetAsyncError) CommGetAsyncError = nullptr;
  decltype(&ncclCommAbort) CommAbort = nullptr;
  decltype(&ncclSend) Send = nullptr;
  decltype(&ncclRecv) Recv = nullptr;
};

const Functions& nccl() {
  static const Functions functions;
  return functions;
}

ncclComm_t comm_of(void* link) { return static_cast<ncclComm_t>(link); }

const char* error_text(int status) {
  if (status == kMissingLibrary) return "NCCL is not there";
  return nccl().GetErrorString(static_cast<ncclResult_t>(status));
}

// Where a call goes on without waiting, state() tells how it went.
int begun(int status) { return status == ncclInProgress ? int{ncclSuccess} : status; }

int connect(int number, const void* id, void** link) {
  if (!nccl().there()) return kMissingLibrary;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclUniqueId unique;
  std::copy_n(static_cast<const char*>(id), sizeof unique.internal, unique.internal);
  ncclComm_t made = nullptr;
  const int status = nccl().CommInitRankConfig(&made, kRanks, unique, number, &config);
  *link = made;
  return begun(status);
}

int state(void* link) {
  ncclResult_t status = ncclSuccess;
  const int asked = nccl().CommGetAsyncError(comm_of(link), &status);
  return asked != ncclSuccess ? asked : int{status};
}

const TesseraNcclApi kApi = {
    TESSERA_NCCL_MODULE_VERSION,
    [] { return nccl().version.c_str(); },
    []() -> const char* { return nccl().there() ? nullptr : nccl().problem.c_str(); },
    error_text,
    [](void* id) {
      if (!nccl().there()) return kMissingLibrary;
      ncclUniqueId unique;
      const int status = nccl().GetUniqueId(&unique);
      std::copy_n(unique.internal, sizeof unique.internal, static_cast<char*>(id));
      return status;
    },
    connect,
    state,
    [](void* link, const void* data, std::size_t bytes, void* stream) {
      return begun(
          nccl().Send(data, bytes, ncclUint8, 1, comm_of(link), static_cast<cudaStream_t>(stream)));
    },
    [](void* link, void* data, std::size_t bytes, void* stream) {
      return begun(
          nccl().Recv(data, bytes, ncclUint8, 0, comm_of(link), static_cast<cudaStream_t>(stream)));
    },
    [](void* link) { nccl().CommAbort(comm_of(link)); },
};

}  // namespace
}  // namespace tessera::comm

extern "C" __attribute__((visibility("default"))) const TesseraNcclApi* tessera_nccl_module(void) {
  return &tessera::comm::kApi;
}
