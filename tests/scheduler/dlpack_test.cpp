#include "tessera/dlpack.hpp"

#include <gtest/gtest.h>

#include "tessera/tessera.hpp"
#include "tests/array/expect_refusal.hpp"

#ifdef TESSERA_HAVE_DLPACK
#include <dlpack/dlpack.h>

#include <cstring>
#include <vector>
#endif

namespace tessera {
namespace {

#ifdef TESSERA_HAVE_DLPACK

/// A tensor that counts how often it was deleted.
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
  int deleted = 0;
  DLManagedTensor managed{};
  Tensor(void* data, DLDataType dtype, std::vector<std::int64_t> of,
         std::vector<std::int64_t> by = {})
      : shape(std::move(of)), strides(std::move(by)) {
    managed.dl_tensor = {data,  {kDLCPU, 0},  static_cast<int>(shape.size()),
                         dtype, shape.data(), strides.empty() ? nullptr : strides.data(),
                         0};
    managed.manager_ctx = this;
    managed.deleter = [](DLManagedTensor* tensor) {
      ++static_cast<Tensor*>(tensor->manager_ctx)->deleted;
    };
  }
};

constexpr DLDataType kDouble = {kDLFloat, 64, 1};

TEST(Dlpack, ShortFloatsAreFloats) {
  for (const auto& [dtype, code] : {std::pair{DType::kFloat16, std::uint8_t{kDLFloat}},
                                    std::pair{DType::kBFloat16, std::uint8_t{4}}}) {
    DLManagedTensor* tensor = to_dlpack(astype(arange(3.0) - 2.5, dtype).compute());
    EXPECT_EQ(tensor->dl_tensor.dtype.code, code);
    EXPECT_EQ(tensor->dl_tensor.dtype.bits, 16);
    const Array back = from_dlpack(tensor);  // which deletes it
    EXPECT_EQ(back.dtype(), dtype);
    EXPECT_EQ(astype(back, DType::kFloat64).compute().span<double>()[0], -2.5);
  }
}

TEST(Dlpack, ReadsATensorWhereItLiesAndGivesItBack) {
  std::vector<double> values(24);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  Tensor tensor(values.data(), kDouble, {4, 3}, {6, 2});
  tensor.managed.dl_tensor.byte_offset = sizeof(double);
  {
    const Array x = from_dlpack(&tensor.managed, {.chunks = {3, 2}});
    EXPECT_EQ(x.shape(), (Shape{4, 3}));
    EXPECT_EQ(x.chunks().to_string(), ChunkGrid(x.chunks()).to_string());
    values[1] = 100.0;  // not copied yet
    const HostArray got = (x * 2.0).compute();
    for (std::int64_t i = 0; i < 4; ++i) {
      for (std::int64_t j = 0; j < 3; ++j) {
        const double wanted = i + j == 0 ? 100.0 : static_cast<double>(1 + 6 * i + 2 * j);
        EXPECT_EQ(got.span<double>()[static_cast<std::size_t>(3 * i + j)], 2.0 * wanted);
      }
    }
    EXPECT_EQ(tensor.deleted, 0);
  }
  EXPECT_EQ(tensor.deleted, 1);
}

template <typename T>
void round_trip(DType dtype) {
  const Array x = astype(arange(12, {.dtype = int64}) - 3, dtype).T();
  const HostArray values = reshape(x, {3, 4}).compute();
  DLManagedTensor* tensor = to_dlpack(values);
  EXPECT_EQ(tensor->dl_tensor.data, values.data());
  EXPECT_EQ(tensor->dl_tensor.dtype.bits, 8 * itemsize(dtype));
  const Array back = from_dlpack(tensor);  // which deletes it
  EXPECT_EQ(back.dtype(), dtype);
  const HostArray got = back.compute();
  ASSERT_EQ(got.shape(), values.shape());
  EXPECT_EQ(std::memcmp(got.data(), values.data(), values.nbytes()), 0) << dtype;
}

TEST(Dlpack, EveryDtypeGoesThereAndBack) {
  for (const DType dtype :
       {DType::kBool, DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64, DType::kUInt8,
        DType::kUInt16, DType::kUInt32, DType::kUInt64, DType::kFloat32, DType::kFloat64,
        DType::kComplex64, DType::kComplex128})
    round_trip<void>(dtype);
}

TEST(Dlpack, ScalarsAndEmptyTensors) {
  double value = 7.0;
  Tensor scalar(&value, kDouble, {});
  EXPECT_EQ(from_dlpack(&scalar.managed).item<double>(), 7.0);
  EXPECT_EQ(scalar.deleted, 1);
  Tensor empty(nullptr, kDouble, {3, 0, 2});
  EXPECT_EQ(from_dlpack(&empty.managed).compute().shape(), (Shape{3, 0, 2}));
  EXPECT_EQ(empty.deleted, 1);
  DLManagedTensor* out = to_dlpack(zeros({}).compute());
  EXPECT_EQ(out->dl_tensor.ndim, 0);
  out->deleter(out);
}

// The memory of a result lives as long as the tensor.
TEST(Dlpack, AResultOutlivesItsArray) {
  DLManagedTensor* tensor = nullptr;
  {
    const HostArray values = ones({1000}).compute();
    tensor = to_dlpack(values);
  }
  EXPECT_EQ(static_cast<const double*>(tensor->dl_tensor.data)[999], 1.0);
  tensor->deleter(tensor);
}

TEST(Dlpack, WhatItCannotReadStaysTheCallers) {
  std::vector<double> values(8);
  const auto refused = [&](Tensor tensor, const std::string& text) {
    tensor.managed.manager_ctx = &tensor;
    tensor.managed.dl_tensor.shape = tensor.shape.data();
    if (!tensor.strides.empty()) tensor.managed.dl_tensor.strides = tensor.strides.data();
    EXPECT_REFUSED(from_dlpack(&tensor.managed), "[from_dlpack] " + text);
    EXPECT_EQ(tensor.deleted, 0);
  };
  EXPECT_REFUSED(from_dlpack(nullptr), "[from_dlpack] a tensor is needed; got a null pointer");
  const std::string kinds =
      "the elements must be bool, integers, floats of 16 to 64 bits or complex; got DLPack's type "
      "code 2 "
      "of ";
  Tensor device(values.data(), kDouble, {8});
  device.managed.dl_tensor.device = {kDLROCM, 0};
  refused(device,
          "the tensor's memory must be the host's or a CUDA device's; got device type 10; try "
          "copying it to the host");
  refused(Tensor(values.data(), {kDLFloat, 8, 1}, {8}), kinds + "8 bits and 1 lanes");
  refused(Tensor(values.data(), {kDLFloat, 64, 4}, {2}), kinds + "64 bits and 4 lanes");
  Tensor odd(values.data(), kDouble, {7});
  odd.managed.dl_tensor.byte_offset = 4;
  refused(odd,
          "elements must lie at multiples of their size; got a tensor of float64 at an address "
          "that is none");
  Tensor none(values.data(), kDouble, {8});
  none.shape = {-1};
  none.managed.manager_ctx = &none;
  none.managed.dl_tensor.shape = none.shape.data();
  EXPECT_THROW(from_dlpack(&none.managed), InvalidArgument);
  EXPECT_EQ(none.deleted, 0);
  Tensor nowhere(nullptr, kDouble, {8});
  EXPECT_THROW(from_dlpack(&nowhere.managed), InvalidArgument);
  EXPECT_EQ(nowhere.deleted, 0);
}

#else

TEST(Dlpack, IsRefusedWhereItIsNotBuiltIn) {
  EXPECT_REFUSED(from_dlpack(nullptr), "[from_dlpack] Tessera was built without DLPack's header");
}

#endif

}  // namespace
}  // namespace tessera
