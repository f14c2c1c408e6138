#include "comm/pmix/pmix_module.h"

#include <pmix.h>

#include <cstring>

namespace {

constexpr char kKey[] = "tessera.rendezvous";
pmix_proc_t self;

pmix_proc_t everyone() {
  pmix_proc_t out;
  PMIX_PROC_CONSTRUCT(&out);
  PMIX_LOAD_PROCID(&out, self.nspace, PMIX_RANK_WILDCARD);
  return out;
}

int number_of_job(const char* key, uint32_t* out) {
  const pmix_proc_t all = everyone();
  pmix_value_t* value = nullptr;
  const pmix_status_t status = PMIx_Get(&all, key, nullptr, 0, &value);
  if (status != PMIX_SUCCESS) return status;
  *out = value->data.uint32;
  PMIX_VALUE_RELEASE(value);
  return 0;
}

int init(uint32_t* rank, uint32_t* ranks, uint32_t* ranks_here) {
  int status = PMIx_Init(&self, nullptr, 0);
  if (status != PMIX_SUCCESS) return status;
  *rank = self.rank;
  status = number_of_job(PMIX_JOB_SIZE, ranks);
  if (status == 0) status = number_of_job(PMIX_LOCAL_SIZE, ranks_here);
  if (status != 0) PMIx_Finalize(nullptr, 0);
  return status;
}

int share(const char* text, char* out, size_t out_bytes) {
  int status = PMIX_SUCCESS;
  if (text != nullptr) {
    pmix_value_t value;
    PMIX_VALUE_CONSTRUCT(&value);
    value.type = PMIX_STRING;
    value.data.string = const_cast<char*>(text);
    status = PMIx_Put(PMIX_GLOBAL, kKey, &value);
    if (status == PMIX_SUCCESS) status = PMIx_Commit();
    if (status != PMIX_SUCCESS) return status;
  }
  pmix_proc_t all = everyone();
  pmix_info_t collect;
  PMIX_INFO_CONSTRUCT(&collect);
  const bool yes = true;
  PMIX_INFO_LOAD(&collect, PMIX_COLLECT_DATA, &yes, PMIX_BOOL);
  status = PMIx_Fence(&all, 1, &collect, 1);
  PMIX_INFO_DESTRUCT(&collect);
  if (status != PMIX_SUCCESS) return status;
  pmix_proc_t first;
  PMIX_PROC_CONSTRUCT(&first);
  PMIX_LOAD_PROCID(&first, self.nspace, 0);
  pmix_value_t* value = nullptr;
  status = PMIx_Get(&first, kKey, nullptr, 0, &value);
  if (status != PMIX_SUCCESS) return status;
  const bool fits = value->type == PMIX_STRING && std::strlen(value->data.string) < out_bytes;
  if (fits) std::strcpy(out, value->data.string);
  PMIX_VALUE_RELEASE(value);
  return fits ? 0 : PMIX_ERR_BAD_PARAM;
}

int finalize() { return PMIx_Finalize(nullptr, 0); }

const char* error_text(int status) { return PMIx_Error_string(status); }

}  // namespace

extern "C" __attribute__((visibility("default"))) const TesseraPmixApi* tessera_pmix_module() {
  static const TesseraPmixApi kApi = {TESSERA_PMIX_MODULE_VERSION, init, share, finalize, error_text};
  return &kApi;
}
