#pragma once

#include <string>

#include "comm/ucx/ucx_module.h"

namespace tessera::comm {

/// The functions of UCX; null with the reason where its module is missing or was built for another
/// version of this library. UCX leaves the signals of the process alone, unless UCX_HANDLE_ERRORS
/// says otherwise.
const TesseraUcxApi* find_ucx(std::string& problem);
/// For people: the version, or why there is none.
std::string ucx_support();
/// Whether this machine has a network that UCX serves better than TCP.
bool has_rdma_network();

}  // namespace tessera::comm
