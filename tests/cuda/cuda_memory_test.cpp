#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <numeric>
#include <optional>
#include <random>

#include "tessera/tessera.hpp"
#include "tests/cuda/engine_on_cuda.hpp"
#include "tests/cuda/simulated_cuda.hpp"

#ifdef TESSERA_HAVE_DLPACK
#include <dlpack/dlpack.h>
#endif

// Memory of GPUs in and out, on a simulated machine whose device memory the host can read, too.

namespace tessera::testing {
namespace {

/// A program's own memory on a device of the simulated machine.
class OwnMemory {
 public:
  OwnMemory(const TesseraCudaApi& api, int device, std::size_t bytes) : api_(api) {
    api_.pool_create(device, &pool_);
    api_.pool_allocate(&data_, bytes, pool_, nullptr);
  }
  ~OwnMemory() {
    api_.pool_free(data_, nullptr);
    api_.pool_destroy(pool_);
  }
  OwnMemory(const OwnMemory&) = delete;
  OwnMemory& operator=(const OwnMemory&) = delete;
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  const TesseraCudaApi& api_;
  void* pool_ = nullptr;
  void* data_ = nullptr;
};

// What copies read, by device of the machine; of a table whose copies count.
const TesseraCudaApi* counted_api;
std::atomic<std::int64_t> copies_of_device[2];
int counting_copy(void* to, const void* from, std::size_t bytes, void* stream) {
  int device = -1;
  counted_api->memory_device(from, &device);
  if (device >= 0) ++copies_of_device[device];
  return counted_api->copy(to, from, bytes, stream);
}

class CudaMemory : public ::testing::Test {
 protected:
  CudaMemory() {
    counted_api = &machine_.api();
    table_ = machine_.api();
    table_.copy = counting_copy;
    seams_.cuda = &table_;
    for (auto& count : copies_of_device) count = 0;
  }
  Session open(const char* devices) const { return seams_.open(ample(devices)); }

  SimulatedCuda machine_;
  TesseraCudaApi table_{};
  scheduler::Seams seams_;
};

/// Some of each way in which a task may read an array of shape (12, 9).
std::vector<Array> uses(const Array& x) {
  const Array square = x[{Slice{0, 9}, Slice{}}];
  return {x * 2.0,
          sum(x, {.axis = 0}),
          sum(x, {.axis = 1}),
          max(x),
          square + square.T(),
          x[{Slice{.step = -2}, Slice{1, 8, 3}}] + 1.0,
          cumulative_sum(x, {.axis = 0}),
          matmul(x.T(), x)};
}

struct Layout {
  const char* name;
  std::int64_t first;  // of the element at index (0, 0)
  std::vector<std::int64_t> strides;
};
const Layout kLayouts[] = {
    {"dense", 0, {9, 1}},         {"transposed", 0, {1, 12}},      {"backward", 107, {-9, -1}},
    {"columns backward", 8, {9, -1}}, {"every second", 3, {20, 2}}, {"one row", 5, {0, 1}}};

TEST_F(CudaMemory, IsReadWhereItLiesAtAnyStrides) {
  const OwnMemory memory(machine_.api(), 0, 300 * sizeof(double));
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i)
    memory.as<double>()[i] = static_cast<double>(random() % 1000) / 8.0;
  for (const char* devices : {"cuda:0", "cuda:0-1", "cuda:1"}) {
    for (const Layout& layout : kLayouts) {
      for (const Chunks& chunks : {Chunks{}, Chunks{5, 4}}) {
        SCOPED_TRACE(std::string(devices) + ", " + layout.name);
        const double* first = memory.as<double>() + layout.first;
        Session host = seams_.open(ample("host"));
        const std::vector<HostArray> wanted = host.compute(uses(
            from_memory(first, {12, 9}, {.chunks = chunks, .strides = layout.strides})));
        Session session = open(devices);
        const SessionScope scope(session);
        const Array x = from_cuda(first, {12, 9}, {.chunks = chunks, .strides = layout.strides});
        for (auto& count : copies_of_device) count = 0;
        const HostArray twice = (x * 2.0).compute();
        // But for what is delivered nothing is copied where the memory is the session's device's.
        if (std::string(devices) == "cuda:0") {
          EXPECT_LE(copies_of_device[0], x.chunks().block_count());
        }
        expect_close(wanted, session.compute(uses(x)), layout.name);
      }
    }
  }
  EXPECT_EQ(machine_.misuse(), "");
}

// Vectors of complex numbers would have to lie at multiples of their own size.
TEST_F(CudaMemory, ComplexNumbersMayLieAtHalfTheirSize) {
  const OwnMemory memory(machine_.api(), 0, 4096);
  for (int i = 0; i < 512; ++i) memory.as<double>()[i] = i % 17 - 8.0;
  Session host = seams_.open(ample("host"));
  Session session = open("cuda:0");
  for (const DType dtype : {DType::kComplex64, DType::kComplex128}) {
    const char* first = memory.as<char>() + itemsize(dtype) / 2;
    for (const Chunks& chunks : {Chunks{}, Chunks{5, 4}}) {
      SCOPED_TRACE(name(dtype));
      const auto of = [&](const Array& x) {
        return std::vector<Array>{x * 2.0, x + x[{Slice{.step = -1}, Slice{}}], x.T() * 0.5,
                                  sum(x, {.axis = 0}), matmul(x.T(), x)};
      };
      const std::vector<HostArray> wanted =
          host.compute(of(from_memory(first, dtype, {12, 9}, {.chunks = chunks})));
      const SessionScope scope(session);
      expect_close(wanted,
                   session.compute(of(from_cuda(first, dtype, {12, 9}, {.chunks = chunks}))),
                   "complex");
    }
  }
  EXPECT_EQ(machine_.misuse(), "");
}

// The program's threads have the current device that they had.
TEST_F(CudaMemory, TheCurrentDeviceStaysTheProgramsOwn) {
  const OwnMemory memory(machine_.api(), 0, 800);
  std::iota(memory.as<double>(), memory.as<double>() + 100, 0.0);
  ASSERT_EQ(machine_.api().set_device(1), 0);
  const auto now = [&] {
    int device = -1;
    machine_.api().current_device(&device);
    return device;
  };
  for (const char* devices : {"cuda:0", "cuda:0-1"}) {
    Session session = open(devices);
    EXPECT_EQ(now(), 1);
    const SessionScope scope(session);
    const Array x = from_cuda(memory.as<double>(), {100}, {.chunks = {30}, .stream = nullptr});
    EXPECT_EQ(now(), 1);
    EXPECT_EQ(sum(sort(rechunk(x * 2.0, {100}))).item<double>(), 9900.0);
    EXPECT_EQ(now(), 1);
    std::vector<DeviceBlock> blocks = compute_blocks(x + 1.0);
    EXPECT_EQ(now(), 1);
    blocks.clear();
    EXPECT_EQ(now(), 1);
  }
  EXPECT_EQ(now(), 1);
  machine_.api().set_device(0);
}

TEST_F(CudaMemory, IsReadBehindWhatIsOnTheDefaultStream) {
  const OwnMemory memory(machine_.api(), 1, 1000);
  machine_.api().set_device(1);
  machine_.api().fill(memory.as<void>(), 7, 1000, nullptr);
  machine_.api().set_device(0);
  {
    Session session = open("cuda:0-1");
    const SessionScope scope(session);
    const Array x =
        from_cuda(memory.as<std::int8_t>(), {1000}, {.chunks = {300}, .stream = nullptr});
    EXPECT_EQ(sum(x).item<std::int64_t>(), 7000);
  }
  EXPECT_EQ(machine_.misuse(), "");
}

TEST_F(CudaMemory, IsReadBehindWhatIsOnItsStream) {
  for (int round = 0; round < 20; ++round) {
    const OwnMemory memory(machine_.api(), 0, 1000);
    void* stream = nullptr;
    ASSERT_EQ(machine_.api().stream_create(0, &stream), 0);
    machine_.api().fill(memory.as<void>(), 7, 1000, stream);
    {
      Session session = open("cuda:0-1");
      const SessionScope scope(session);
      const Array x = from_cuda(memory.as<std::int8_t>(), {1000}, {.chunks = {300}, .stream = stream});
      EXPECT_EQ(sum(x).item<std::int64_t>(), 7000);
    }
    machine_.api().stream_destroy(stream);
  }
  EXPECT_EQ(machine_.misuse(), "");
}

TEST_F(CudaMemory, ItsOwnerGoesWithTheLastArray) {
  bool gone = false;
  auto memory = std::make_unique<OwnMemory>(machine_.api(), 0, 800);
  std::iota(memory->as<double>(), memory->as<double>() + 100, 0.0);
  const double* data = memory->as<double>();
  std::shared_ptr<const void> owner(data, [&gone, held = std::move(memory)](const void*) { gone = true; });
  Session session = open("cuda:0");
  const SessionScope scope(session);
  {
    const Array total = [&] {
      const Array x = from_cuda(data, {100}, {.owner = std::exchange(owner, nullptr)});
      return sum(x);
    }();
    EXPECT_EQ(total.item<double>(), 4950.0);
    EXPECT_FALSE(gone);
  }
  EXPECT_TRUE(gone);
}

template <typename F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "nothing was refused";
}

TEST_F(CudaMemory, WhatIsNoMemoryOfAGpuIsRefused) {
  const OwnMemory memory(machine_.api(), 1, 800);
  const double here[4] = {};
  Session session = open("cuda:0");
  const SessionScope scope(session);
  EXPECT_EQ(refusal([&] { from_cuda(here, {4}); }),
            "[from_cuda] the memory must be a GPU's; got the host's for shape (4,) of float64; try "
            "from_memory()");
  EXPECT_EQ(refusal([&] { from_cuda<double>(nullptr, {4}); }),
            "[from_cuda] the memory must exist; got a null pointer for shape (4,) of float64");
  EXPECT_EQ(refusal([&] { from_cuda(memory.as<char>() + 4, DType::kFloat64, {4}); }),
            "[from_cuda] elements must lie at multiples of their size; got an array of float64 at an "
            "address that is none");
  EXPECT_NE(refusal([&] { from_cuda(memory.as<double>(), {4}, {.strides = {{1, 1}}}); })
                .find("there must be one stride for each axis"),
            std::string::npos);
  const Array x = from_cuda(memory.as<double>(), {4});
  Session host = seams_.open(ample("host"));
  EXPECT_EQ(refusal([&] { host.compute({x + 1.0}); }),
            "[from_cuda] memory of a GPU is read in sessions on GPUs; got some of device 1 in a "
            "session on the host; try SessionOptions::devices = \"cuda:1\"");
  EXPECT_EQ(from_cuda<double>(nullptr, {0, 3}).compute().shape(), (Shape{0, 3}));
  machine_.fail_call(1, 719, "memory_device");
  EXPECT_THROW(from_cuda(memory.as<double>(), {4}), DeviceError);
  machine_.stop_failing();
}

TEST_F(CudaMemory, ComputedBlocksAreTheCallers) {
  std::vector<DeviceBlock> blocks;
  const Array x = random::normal({50, 30}, {.chunks = {20, 30}, .seed = 3}) + 1.0;
  const HostArray wanted = open("cuda:0-1").compute({x})[0];
  {
    Session session = open("cuda:0-1");
    const SessionScope scope(session);
    const std::size_t before = machine_.bytes_in_use();
    blocks = compute_blocks(x);
    EXPECT_GE(machine_.bytes_in_use(), before + x.nbytes());
    EXPECT_EQ(session.resident_bytes(), 0U);
  }
  ASSERT_EQ(blocks.size(), 3U);
  for (std::size_t b = 0; b < 3; ++b) {
    const DeviceBlock& block = blocks[b];
    EXPECT_TRUE(block.on_cuda);
    int device = -1;
    machine_.api().memory_device(block.memory.get(), &device);
    EXPECT_EQ(device, block.device);
    EXPECT_EQ(block.index, (Shape{static_cast<std::int64_t>(b), 0}));
    EXPECT_EQ(block.start, (Shape{static_cast<std::int64_t>(20 * b), 0}));
    EXPECT_EQ(block.shape, (Shape{b < 2 ? 20 : 10, 30}));
    EXPECT_EQ(std::memcmp(block.memory.get(), wanted.span<double>().data() + 600 * b,
                          static_cast<std::size_t>(block.shape[0]) * 30 * sizeof(double)),
              0);
  }
  // In again, and the first one written to.
  {
    Session session = open("cuda:0-1");
    const SessionScope scope(session);
    static_cast<double*>(blocks[0].memory.get())[0] = 5.0;
    std::vector<Array> parts;
    for (const DeviceBlock& block : blocks)
      parts.push_back(from_cuda(block.memory.get(), block.dtype, block.shape, {.owner = block.memory}));
    blocks.clear();
    const HostArray got = concatenate(parts).compute();
    EXPECT_EQ(got.span<double>()[0], 5.0);
    EXPECT_EQ(std::memcmp(got.span<double>().data() + 1, wanted.span<double>().data() + 1, 1499 * 8), 0);
  }
  EXPECT_EQ(machine_.bytes_in_use(), 0U);
  EXPECT_EQ(machine_.misuse(), "");
}

TEST_F(CudaMemory, WhatIsHandedOutIsNoRunsRoom) {
  SessionOptions options = ample("cuda:0");
  options.device_memory_bytes = std::size_t{256} << 10;
  Session session = seams_.open(options);
  const SessionScope scope(session);
  const Array x = random::uniform({160, 128}, {.chunks = {16, 128}, .seed = 1});  // 160 KiB
  const HostArray wanted = x.compute();
  std::vector<DeviceBlock> blocks = compute_blocks(x);
  const Array y = persist({x * 2.0})[0];  // which goes to the host in part
  EXPECT_LE(session.last_run().peak_device_bytes[0], std::size_t{96} << 10);
  EXPECT_GT(session.last_run().to_host_bytes, 0U);
  const HostArray twice = y.compute();
  for (std::size_t i = 0; i < 160 * 128; ++i)
    ASSERT_EQ(twice.span<double>()[i], 2.0 * wanted.span<double>()[i]);
  // More than there is room for: said so, and nothing is lost.
  const std::size_t before = machine_.bytes_in_use();
  EXPECT_THROW(compute_blocks(x + 1.0), OutOfMemory);
  EXPECT_LE(machine_.bytes_in_use(), before);
  blocks.clear();
  EXPECT_EQ(sum(y - x * 2.0).item<double>(), 0.0);
}

// A result that went below for a while, to make room for what another part of it took, comes back.
TEST_F(CudaMemory, WhatWasSpilledMeanwhileIsHandedOutAllTheSame) {
  for (const std::size_t host : {std::size_t{8} << 20, std::size_t{0}}) {
    SessionOptions options = ample("cuda:0");
    options.device_memory_bytes = std::size_t{4400} << 10;
    options.host_memory_bytes = host;
    options.disk_memory_bytes = std::size_t{64} << 20;
    Session session = seams_.open(options);
    const SessionScope scope(session);
    const auto ones_of = [](std::span<const InputBlock>, const OutputBlock& out) {
      std::fill_n(out.as<double>(), out.size(), 1.0);
    };
    const Array first = random::uniform({48, 1024}, {.chunks = {8, 1024}, .seed = 1}) + 1.0;
    const Array many = map_blocks(
        ones_of, {}, {.dtype = float64, .shape = Shape{256, 1024}, .chunks = Chunks{16, 1024}});
    const Array last = map_blocks(
        [](std::span<const InputBlock> in, const OutputBlock& out) {
          double total = 0.0;
          for (const double value : in[0].span<double>()) total += value;
          std::fill_n(out.as<double>(), out.size(), total);
        },
        {rechunk(many, {256, 1024})},
        {.dtype = float64, .shape = Shape{8, 1024}, .chunks = Chunks{8, 1024}});
    const std::vector<DeviceBlock> blocks = compute_blocks(concatenate({first, last}));
    EXPECT_GT(session.last_run().to_host_bytes + session.last_run().to_disk_bytes, 0U);
    ASSERT_EQ(blocks.size(), 7U);
    const HostArray wanted = first.compute();
    for (std::size_t b = 0; b < 6; ++b) {
      EXPECT_EQ(std::memcmp(blocks[b].memory.get(), wanted.data() + b * 65536, 65536), 0) << b;
    }
    EXPECT_EQ(static_cast<const double*>(blocks[6].memory.get())[8191], 256.0 * 1024.0);
  }
  EXPECT_EQ(machine_.bytes_in_use(), 0U);
  EXPECT_EQ(machine_.misuse(), "");
}

TEST_F(CudaMemory, BlocksThatOutliveTheirSessionHoldNoMoreThanTheirMemory) {
  std::vector<DeviceBlock> blocks;
  {
    Session session = open("cuda:0");
    const SessionScope scope(session);
    const Array x = random::uniform({512, 512}, {.chunks = {64, 512}, .seed = 1});
    persist({x * 2.0});  // 2 MiB, which the session keeps for what comes next
    blocks = compute_blocks(x[{Slice{0, 8}, Slice{}}] + 1.0);
    EXPECT_GT(machine_.bytes_in_use(), std::size_t{2} << 20);
  }
  EXPECT_LE(machine_.bytes_in_use(), std::size_t{64} << 10);
  blocks.clear();
  EXPECT_EQ(machine_.bytes_in_use(), 0U);
}

// As tensors go whose owner drops them with work on its streams.
TEST_F(CudaMemory, WorkOnABlockEndsBeforeItsMemoryIsAnothers) {
  Session session = open("cuda:0");
  const SessionScope scope(session);
  void* stream = nullptr;
  ASSERT_EQ(machine_.api().stream_create(0, &stream), 0);
  for (int round = 0; round < 10; ++round) {
    std::vector<DeviceBlock> blocks = compute_blocks(full({1000}, 3.0) + 0.5);
    std::vector<double> read(1000);
    machine_.api().copy(read.data(), blocks[0].memory.get(), 8000, stream);
    blocks.clear();
    const std::vector<DeviceBlock> next = compute_blocks(full({1000}, 5.0) + 0.5);
    machine_.api().stream_synchronize(stream);
    EXPECT_EQ(read, std::vector<double>(1000, 3.5));
  }
  machine_.api().stream_destroy(stream);
  EXPECT_EQ(machine_.misuse(), "");
}

TEST_F(CudaMemory, OfWhatIsKeptCopiesAreHandedOut) {
  Session session = open("cuda:0");
  const SessionScope scope(session);
  const Array x = persist({random::uniform({20, 10}, {.chunks = {8, 10}, .seed = 1})})[0];
  std::vector<DeviceBlock> blocks = compute_blocks(x);
  ASSERT_EQ(blocks.size(), 3U);
  std::memset(blocks[0].memory.get(), 0, 640);
  EXPECT_GT(min(x).item<double>(), 0.0);
}

#ifdef TESSERA_HAVE_DLPACK
TEST_F(CudaMemory, TensorsGoBothWays) {
  Session session = open("cuda:1");
  const SessionScope scope(session);
  DLManagedTensor* tensor = nullptr;
  {
    const std::vector<DeviceBlock> blocks = compute_blocks(arange(12.0) * 2.0);
    ASSERT_EQ(blocks.size(), 1U);
    tensor = to_dlpack(blocks[0]);
    EXPECT_EQ(tensor->dl_tensor.data, blocks[0].memory.get());
  }
  EXPECT_EQ(tensor->dl_tensor.device.device_type, kDLCUDA);
  EXPECT_EQ(tensor->dl_tensor.device.device_id, 1);
  {
    const Array x = from_dlpack(tensor);  // which deletes it
    EXPECT_EQ(sum(x).item<double>(), 132.0);
    EXPECT_GT(machine_.bytes_in_use(), 0U);
  }
  EXPECT_TRUE(compute_blocks(zeros({3}))[0].on_cuda);
}
#endif

}  // namespace
}  // namespace tessera::testing
