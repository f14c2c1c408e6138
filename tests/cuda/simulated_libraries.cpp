#include <complex>
#define lapack_complex_float std::complex<float>
#define lapack_complex_double std::complex<double>
#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <vector>

#include "tests/cuda/simulated_machine.hpp"

// cuBLAS and cuSOLVER of the simulated machine: their calls are put on the handle's stream, and are OpenBLAS's and
// LAPACKE's when they run.

namespace tessera::testing::simulated {
namespace {

using Machine = SimulatedCuda::Machine;
constexpr int kInvalidValue = 7;  // CUBLAS_STATUS_INVALID_VALUE

struct Handle {
  void* stream = nullptr;
};

template <typename F>
int guarded(const char* name, F&& f) {
  Machine& machine = Machine::here();
  const std::lock_guard lock(machine.mutex);
  if (const int status = machine.begin_call(name); status != 0) return status;
  return f(machine);
}

template <typename F>
int put(const char* name, void* handle, F work) {
  return guarded(name, [&](Machine& machine) {
    machine.put(static_cast<Handle*>(handle)->stream, {std::move(work), nullptr, 0, false});
    return 0;
  });
}

int create(const char* name, void** handle) {
  return guarded(name, [&](Machine&) {
    *handle = new Handle;
    return 0;
  });
}
int destroy(void* handle) {
  delete static_cast<Handle*>(handle);
  return 0;
}
int set_stream(const char* name, void* handle, void* stream) {
  return guarded(name, [&](Machine&) {
    static_cast<Handle*>(handle)->stream = stream;
    return 0;
  });
}

template <typename Key>
int sort_pairs_of(void* const keys[2], void* const values[2], int64_t count, int bits, int which) {
  const auto n = static_cast<std::size_t>(count);
  const Key mask = bits >= static_cast<int>(8 * sizeof(Key)) ? ~Key{0} : static_cast<Key>((Key{1} << bits) - 1);
  const auto* key = static_cast<const Key*>(keys[0]);
  const auto* value = static_cast<const std::uint32_t*>(values[0]);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return (key[a] & mask) < (key[b] & mask); });
  std::vector<Key> sorted_keys;
  std::vector<std::uint32_t> sorted_values;
  for (const std::size_t i : order) {
    sorted_keys.push_back(key[i]);
    sorted_values.push_back(value[i]);
  }
  // The other arrays hold nothing of use.
  std::memset(keys[1 - which], 0xCD, n * sizeof(Key));
  std::memset(values[1 - which], 0xCD, n * sizeof(std::uint32_t));
  std::copy(sorted_keys.begin(), sorted_keys.end(), static_cast<Key*>(keys[which]));
  std::copy(sorted_values.begin(), sorted_values.end(), static_cast<std::uint32_t*>(values[which]));
  return 0;
}

int sort_pairs_bytes(int, int64_t count, int bits, std::size_t* bytes) {
  return guarded("sort_pairs_bytes", [&](Machine&) {
    *bytes = 256 + 8 * static_cast<std::size_t>(count) * static_cast<std::size_t>(bits) / 64;
    return 0;
  });
}

// As CUB, it ends in either array, according to how many passes there are.
int sort_pairs(int key_bytes, void* const keys[2], void* const values[2], int64_t count, int bits, void* work,
               std::size_t work_bytes, int* which, void* stream) {
  *which = (bits + 7) / 8 % 2;
  return guarded("sort_pairs", [&, to = *which](Machine& machine) {
    const std::array<void*, 2> k{keys[0], keys[1]}, v{values[0], values[1]};
    machine.put(stream, {[&machine, key_bytes, k, v, count, bits, work, work_bytes, to] {
                           const auto n = static_cast<std::size_t>(count);
                           for (std::size_t i = 0; i < 2; ++i) {
                             if (!machine.may_touch(k[i], n * static_cast<std::size_t>(key_bytes), "a sort's keys") ||
                                 !machine.may_touch(v[i], 4 * n, "a sort's values"))
                               return kInvalidValue;
                           }
                           if (!machine.may_touch(work, work_bytes, "a sort's workspace")) return kInvalidValue;
                           std::memset(work, 0xCD, work_bytes);
                           return key_bytes == 4 ? sort_pairs_of<std::uint32_t>(k.data(), v.data(), count, bits, to)
                                                 : sort_pairs_of<std::uint64_t>(k.data(), v.data(), count, bits, to);
                         },
                         nullptr, 0, false});
    return 0;
  });
}

CBLAS_TRANSPOSE transpose(int op) {
  return op == TESSERA_CUDA_AS_IS ? CblasNoTrans : op == TESSERA_CUDA_TRANSPOSED ? CblasTrans : CblasConjTrans;
}

std::size_t item_bytes(int type) {
  constexpr std::size_t kBytes[] = {4, 8, 8, 16};
  return kBytes[type];
}

// What tensor cores leave of a float32.
float as_tf32(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x0fffu + (bits >> 13 & 1u)) & ~0x1fffu;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

// An operand of `columns` columns of `rows` numbers, as tensor cores read it.
std::vector<float> as_tf32(const void* matrix, int rows, int columns, int leading, int parts) {
  const auto* from = static_cast<const float*>(matrix);
  const auto length = static_cast<std::size_t>(leading) * static_cast<std::size_t>(parts);
  std::vector<float> out(length * static_cast<std::size_t>(columns));
  for (std::size_t c = 0; c < static_cast<std::size_t>(columns); ++c) {
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows * parts); ++r)
      out[c * length + r] = as_tf32(from[c * length + r]);
  }
  return out;
}

struct Gemm {
  int type;
  bool tf32;
  CBLAS_TRANSPOSE op_a, op_b;
  int m, n, k;
  char alpha[16], beta[16];
  const void *a, *b;
  int lda, ldb;
  void* c;
  int ldc;

  template <typename T>
  T scalar(const char* bytes) const {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  int operator()() const {
    if (!tf32) return multiply();
    const int parts = type == TESSERA_CUDA_FLOAT32 ? 1 : 2;
    const bool turned_a = op_a != CblasNoTrans;
    const bool turned_b = op_b != CblasNoTrans;
    const std::vector<float> left = as_tf32(a, turned_a ? k : m, turned_a ? m : k, lda, parts);
    const std::vector<float> right = as_tf32(b, turned_b ? n : k, turned_b ? k : n, ldb, parts);
    Gemm rounded = *this;
    rounded.a = left.data();
    rounded.b = right.data();
    return rounded.multiply();
  }
  int multiply() const {
    switch (type) {
      case TESSERA_CUDA_FLOAT32:
        cblas_sgemm(CblasColMajor, op_a, op_b, m, n, k, scalar<float>(alpha), static_cast<const float*>(a), lda,
                    static_cast<const float*>(b), ldb, scalar<float>(beta), static_cast<float*>(c), ldc);
        return 0;
      case TESSERA_CUDA_FLOAT64:
        cblas_dgemm(CblasColMajor, op_a, op_b, m, n, k, scalar<double>(alpha), static_cast<const double*>(a), lda,
                    static_cast<const double*>(b), ldb, scalar<double>(beta), static_cast<double*>(c), ldc);
        return 0;
      case TESSERA_CUDA_COMPLEX64:
        cblas_cgemm(CblasColMajor, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return 0;
      default:
        cblas_zgemm(CblasColMajor, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return 0;
    }
  }
};

int blas_gemm(void* handle, int type, int precision, int op_a, int op_b, int64_t m, int64_t n,
              int64_t k, const void* alpha, const void* a, int64_t lda, const void* b, int64_t ldb,
              const void* beta, void* c, int64_t ldc) {
  if (lda < (op_a == TESSERA_CUDA_AS_IS ? m : k) || ldb < (op_b == TESSERA_CUDA_AS_IS ? k : n) || ldc < m)
    return kInvalidValue;
  const bool single = type == TESSERA_CUDA_FLOAT32 || type == TESSERA_CUDA_COMPLEX64;
  {
    constexpr const char* kNames[] = {"full", "tf32", "bf16x9", "fixed_point"};
    Machine& machine = Machine::here();
    const std::lock_guard lock(machine.mutex);
    ++machine.launches[std::string("gemm in ") + kNames[precision]];
  }
  Gemm gemm{type,
            precision == TESSERA_CUDA_TF32 && single,
            transpose(op_a),
            transpose(op_b),
            static_cast<int>(m),
            static_cast<int>(n),
            static_cast<int>(k),
            {},
            {},
            a,
            b,
            static_cast<int>(lda),
            static_cast<int>(ldb),
            c,
            static_cast<int>(ldc)};
  std::memcpy(gemm.alpha, alpha, item_bytes(type));
  std::memcpy(gemm.beta, beta, item_bytes(type));
  return put("blas_gemm", handle, gemm);
}

// One LAPACK routine by element type.
#define TESSERA_BY_TYPE(type, real_single, real_double, complex_single, complex_double) \
  ((type) == TESSERA_CUDA_FLOAT32     ? (real_single)                                    \
   : (type) == TESSERA_CUDA_FLOAT64   ? (real_double)                                    \
   : (type) == TESSERA_CUDA_COMPLEX64 ? (complex_single)                                 \
                                      : (complex_double))

template <typename T>
T* as(void* data) {
  return static_cast<T*>(data);
}
using C = std::complex<float>;
using Z = std::complex<double>;

void set_info(void* info, lapack_int value) { std::memcpy(info, &value, sizeof(int)); }

// What a routine is given to work in is its own: what stands in it afterwards is anything.
void spoil(void* work, std::size_t bytes) {
  if (bytes > 0) std::memset(work, 0xEE, bytes);
}

int geqrf(void* handle, int type, int64_t rows, int64_t columns, void* a, int64_t leading, void* tau, void* work,
          size_t bytes, void*, size_t, void* info) {
  return put("solver_geqrf", handle, [=] {
    spoil(work, bytes);
    const auto m = static_cast<lapack_int>(rows);
    const auto n = static_cast<lapack_int>(columns);
    const auto ld = static_cast<lapack_int>(leading);
    set_info(info, TESSERA_BY_TYPE(type, LAPACKE_sgeqrf(LAPACK_COL_MAJOR, m, n, as<float>(a), ld, as<float>(tau)),
                                   LAPACKE_dgeqrf(LAPACK_COL_MAJOR, m, n, as<double>(a), ld, as<double>(tau)),
                                   LAPACKE_cgeqrf(LAPACK_COL_MAJOR, m, n, as<C>(a), ld, as<C>(tau)),
                                   LAPACKE_zgeqrf(LAPACK_COL_MAJOR, m, n, as<Z>(a), ld, as<Z>(tau))));
    return 0;
  });
}

int orgqr(void* handle, int type, int64_t rows, int64_t columns, void* a, int64_t leading, const void* reflectors,
          void* work, size_t bytes, void* info) {
  return put("solver_orgqr", handle, [=] {
    spoil(work, bytes);
    const auto m = static_cast<lapack_int>(rows);
    const auto n = static_cast<lapack_int>(columns);
    const auto ld = static_cast<lapack_int>(leading);
    void* tau = const_cast<void*>(reflectors);
    set_info(info, TESSERA_BY_TYPE(type, LAPACKE_sorgqr(LAPACK_COL_MAJOR, m, n, n, as<float>(a), ld, as<float>(tau)),
                                   LAPACKE_dorgqr(LAPACK_COL_MAJOR, m, n, n, as<double>(a), ld, as<double>(tau)),
                                   LAPACKE_cungqr(LAPACK_COL_MAJOR, m, n, n, as<C>(a), ld, as<C>(tau)),
                                   LAPACKE_zungqr(LAPACK_COL_MAJOR, m, n, n, as<Z>(a), ld, as<Z>(tau))));
    return 0;
  });
}

int gesvd(void* handle, int type, int vectors, int64_t rows, int64_t columns, void* a, int64_t leading, void* s,
          void* u, int64_t leading_u, void* vt, int64_t leading_vt, void* work, size_t bytes, void*, size_t, void* info) {
  if (rows < columns) return kInvalidValue;
  return put("solver_gesvd", handle, [=] {
    spoil(work, bytes);
    const auto m = static_cast<lapack_int>(rows);
    const auto n = static_cast<lapack_int>(columns);
    const auto ld = static_cast<lapack_int>(leading);
    const auto ldu = static_cast<lapack_int>(vectors != 0 ? leading_u : m);
    const auto ldv = static_cast<lapack_int>(vectors != 0 ? leading_vt : n);
    const char job = vectors != 0 ? 'S' : 'N';
    std::vector<double> super(static_cast<std::size_t>(n) + 1);
    auto* rest = super.data();
    auto* rest32 = reinterpret_cast<float*>(rest);
    const int order = LAPACK_COL_MAJOR;
    set_info(info,
             TESSERA_BY_TYPE(type,
                             LAPACKE_sgesvd(order, job, job, m, n, as<float>(a), ld, as<float>(s), as<float>(u), ldu,
                                            as<float>(vt), ldv, rest32),
                             LAPACKE_dgesvd(order, job, job, m, n, as<double>(a), ld, as<double>(s), as<double>(u),
                                            ldu, as<double>(vt), ldv, rest),
                             LAPACKE_cgesvd(order, job, job, m, n, as<C>(a), ld, as<float>(s), as<C>(u), ldu,
                                            as<C>(vt), ldv, rest32),
                             LAPACKE_zgesvd(order, job, job, m, n, as<Z>(a), ld, as<double>(s), as<Z>(u), ldu,
                                            as<Z>(vt), ldv, rest)));
    return 0;
  });
}

void fill_solver(TesseraCudaApi& api) {
  api.solver_create = [](void** handle) { return create("solver_create", handle); };
  api.solver_destroy = destroy;
  api.solver_set_stream = [](void* handle, void* stream) { return set_stream("solver_set_stream", handle, stream); };
  api.solver_geqrf_bytes = [](void*, int, int64_t, int64_t, int64_t, size_t* device, size_t* host) {
    *device = 1000;
    *host = 10;
    return 0;
  };
  api.solver_geqrf = geqrf;
  api.solver_orgqr_bytes = [](void*, int, int64_t, int64_t, int64_t, size_t* device) {
    *device = 777;
    return 0;
  };
  api.solver_orgqr = orgqr;
  api.solver_gesvd_bytes = [](void*, int, int, int64_t rows, int64_t columns, size_t* device, size_t* host) {
    *device = 100;
    *host = 0;
    return rows >= columns ? 0 : kInvalidValue;
  };
  api.solver_gesvd = gesvd;
}

}  // namespace

void fill_libraries(TesseraCudaApi& api) {
  api.sort_pairs_bytes = sort_pairs_bytes;
  api.sort_pairs = sort_pairs;
  api.blas_create = [](void** handle) { return create("blas_create", handle); };
  api.blas_destroy = destroy;
  api.blas_set_stream = [](void* handle, void* stream) { return set_stream("blas_set_stream", handle, stream); };
  api.blas_set_workspace = [](void*, void*, size_t) {
    return guarded("blas_set_workspace", [](Machine&) { return 0; });
  };
  api.blas_gemm = blas_gemm;
  fill_solver(api);
}

}  // namespace tessera::testing::simulated
