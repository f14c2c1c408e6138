#include "tessera/dlpack.hpp"

#include "array/refuse.hpp"
#include "tessera/creation.hpp"
#include "tessera/cuda.hpp"
#include "tessera/error.hpp"

#ifdef TESSERA_HAVE_DLPACK
#include <dlpack/dlpack.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>
#endif

namespace tessera {

#ifdef TESSERA_HAVE_DLPACK

namespace {

using array::refuse;

// Younger than the header that this may be built with.
constexpr std::uint8_t kCodeBool = 6;
constexpr std::uint8_t kCodeBfloat = 4;

struct Kind {
  DType dtype;
  std::uint8_t code;
};
constexpr Kind kKinds[] = {
    {DType::kBool, kCodeBool},        {DType::kInt8, kDLInt},      {DType::kInt16, kDLInt},
    {DType::kInt32, kDLInt},          {DType::kInt64, kDLInt},     {DType::kUInt8, kDLUInt},
    {DType::kUInt16, kDLUInt},        {DType::kUInt32, kDLUInt},   {DType::kUInt64, kDLUInt},
    {DType::kFloat32, kDLFloat},      {DType::kFloat64, kDLFloat}, {DType::kComplex64, kDLComplex},
    {DType::kComplex128, kDLComplex}, {DType::kFloat16, kDLFloat}, {DType::kBFloat16, kCodeBfloat}};

std::optional<DType> dtype_of_tensor(const DLDataType& type) {
  for (const Kind& kind : kKinds) {
    if (kind.code == type.code && 8 * itemsize(kind.dtype) == type.bits && type.lanes == 1)
      return kind.dtype;
  }
  return std::nullopt;
}

/// A tensor that was handed out, and what it points to.
struct Exported {
  std::shared_ptr<const void> owner;
  std::vector<std::int64_t> shape;
  DLManagedTensor tensor;
};

/// Of dense memory in C order.
DLManagedTensor* export_memory(std::shared_ptr<const void> owner, void* data, DType dtype,
                               const Shape& shape, DLDevice device) {
  std::uint8_t code = 0;
  for (const Kind& kind : kKinds) {
    if (kind.dtype == dtype) code = kind.code;
  }
  auto exported = std::make_unique<Exported>(Exported{std::move(owner), shape, {}});
  DLTensor& out = exported->tensor.dl_tensor;
  out.data = data;
  out.device = device;
  out.ndim = static_cast<int>(exported->shape.size());
  out.dtype = {code, static_cast<std::uint8_t>(8 * itemsize(dtype)), 1};
  out.shape = exported->shape.data();
  exported->tensor.manager_ctx = exported.get();
  exported->tensor.deleter = [](DLManagedTensor* tensor) {
    delete static_cast<Exported*>(tensor->manager_ctx);
  };
  return &exported.release()->tensor;
}

}  // namespace

Array from_dlpack(DLManagedTensor* tensor, const DlpackOptions& options,
                  std::source_location where) {
  if (tensor == nullptr) refuse("from_dlpack", "a tensor is needed; got a null pointer");
  const DLTensor& is = tensor->dl_tensor;
  const auto device = static_cast<int>(is.device.device_type);
  const bool on_cuda = device == kDLCUDA || device == kDLCUDAManaged;
  if (device != kDLCPU && device != kDLCUDAHost && !on_cuda) {
    refuse("from_dlpack",
           "the tensor's memory must be the host's or a CUDA device's; got device type ", device,
           "; try copying it to the host");
  }
  const std::optional<DType> dtype = dtype_of_tensor(is.dtype);
  if (!dtype) {
    refuse("from_dlpack",
           "the elements must be bool, integers, floats of 16 to 64 bits or complex; got "
           "DLPack's type code ",
           int{is.dtype.code}, " of ", int{is.dtype.bits}, " bits and ", is.dtype.lanes, " lanes");
  }
  if (is.ndim < 0 || (is.ndim > 0 && is.shape == nullptr))
    refuse("from_dlpack", "a tensor has a shape; got ", is.ndim, " axes and none");
  const Shape shape(is.shape, is.shape + is.ndim);
  const std::byte* data = static_cast<const std::byte*>(is.data) + is.byte_offset;
  const bool holds_elements = is.data != nullptr && element_count(shape) != 0;
  const std::size_t alignment = is_complex(*dtype) ? itemsize(*dtype) / 2 : itemsize(*dtype);
  if (holds_elements && reinterpret_cast<std::uintptr_t>(data) % alignment != 0) {
    refuse("from_dlpack", "elements must lie at multiples of their size; got a tensor of ", *dtype,
           " at an address that is none");
  }
  MemoryOptions memory;
  memory.chunks = options.chunks;
  if (is.strides != nullptr) memory.strides.emplace(is.strides, is.strides + is.ndim);
  // Whatever is refused stays the caller's: only an array that was made takes the tensor over.
  struct Owner {
    DLManagedTensor* tensor = nullptr;
    Owner() = default;
    Owner(const Owner&) = delete;
    Owner& operator=(const Owner&) = delete;
    ~Owner() {
      if (tensor != nullptr && tensor->deleter != nullptr) tensor->deleter(tensor);
    }
  };
  const auto owner = std::make_shared<Owner>();
  memory.owner = owner;
  const void* first = holds_elements ? data : nullptr;
  Array out = on_cuda
                  ? from_cuda(first, *dtype, shape,
                              {memory.chunks, memory.strides, memory.owner, options.stream}, where)
                  : from_memory(first, *dtype, shape, memory, where);
  owner->tensor = tensor;
  return out;
}

DLManagedTensor* to_dlpack(const HostArray& values) {
  const auto owner = std::make_shared<const HostArray>(values);
  return export_memory(owner, values.data(), values.dtype(), values.shape(), {kDLCPU, 0});
}

DLManagedTensor* to_dlpack(const DeviceBlock& block) {
  const DLDevice device = block.on_cuda ? DLDevice{kDLCUDA, block.device} : DLDevice{kDLCPU, 0};
  return export_memory(block.memory, block.memory.get(), block.dtype, block.shape, device);
}

#else

namespace {
[[noreturn]] void refuse_all(const char* name) {
  array::refuse(name,
                "Tessera was built without DLPack's header; try installing libdlpack-dev and "
                "building it again");
}
}  // namespace

Array from_dlpack(DLManagedTensor*, const DlpackOptions&, std::source_location) {
  refuse_all("from_dlpack");
}
DLManagedTensor* to_dlpack(const HostArray&) { refuse_all("to_dlpack"); }
DLManagedTensor* to_dlpack(const DeviceBlock&) { refuse_all("to_dlpack"); }

#endif

}  // namespace tessera
